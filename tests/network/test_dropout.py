import pytest
import torch

from charrnn.network.dropout import Dropout, InputDropout


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_numbers_are_dropped_with_probability_p_and_the_rest_scaled(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.ones(503, 997, dtype=dtype)  # no multiple of 4
    dropped = Dropout(p)(x)
    assert dropped.dtype == dtype
    scale = torch.tensor(1 / (1 - p), dtype=dtype)
    assert ((dropped == 0) | (dropped == scale)).all()
    zeros, n = (dropped == 0).double(), x.numel()
    assert abs(zeros.mean().item() - p) < 5 * (p * (1 - p) / n) ** 0.5  # 5 standard deviations
    for a, b in ((zeros[:, 1:], zeros[:, :-1]), (zeros[1:], zeros[:-1]), (zeros[:, 4:], zeros[:, :-4])):
        assert abs(((a - p) * (b - p)).mean().item()) < 5 * p * (1 - p) / n**0.5  # neighbors are independent


def test_the_gradient_passes_what_was_kept() -> None:
    x = torch.randn(7, 11, requires_grad=True)
    dropped = Dropout(0.3)(x)
    dropped.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.where(dropped == 0, 0.0, 1 / 0.7))


def test_the_generator_decides_and_evaluation_drops_nothing() -> None:
    x, dropout = torch.randn(50), Dropout(0.5)
    torch.manual_seed(1)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(1)
    assert dropout(x).equal(first) and not first.equal(second)
    assert dropout.eval()(x) is x or dropout(x).equal(x)


@pytest.mark.parametrize("p", [0.03, 0.5])
def test_a_share_p_of_the_ids_is_missing_in_training(p: float) -> None:
    torch.manual_seed(0)
    ids = torch.randint(7, (503, 997))
    read = InputDropout(p, missing=7)(ids)
    missing = read == 7
    assert read[~missing].equal(ids[~missing])
    assert abs(missing.double().mean().item() - p) < 5 * (p * (1 - p) / ids.numel()) ** 0.5
    assert 0.9 * p < missing[ids == 3].double().mean() < 1.1 * p  # whatever the character is


def test_nothing_is_missing_and_nothing_drawn_in_evaluation_or_with_p_0() -> None:
    ids, before = torch.randint(7, (5, 4)), torch.get_rng_state()
    assert InputDropout(0.5, missing=7).eval()(ids) is ids
    assert InputDropout(0.0, missing=7)(ids) is ids
    assert torch.get_rng_state().equal(before)
