import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from charrnn.network.compiled import operations
from charrnn.network.linear import linear, linear_cross_entropy


def problem(symbols_read: int, hidden: int, vocabulary: int, *, ignored: bool = False) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(symbols_read * 10_000 + hidden * 100 + vocabulary)
    shapes = ((symbols_read, hidden), (vocabulary, hidden), (vocabulary,))
    x, weight, bias = (torch.randn(shape, generator=generator) for shape in shapes)
    targets = torch.randint(vocabulary, (symbols_read,), generator=generator)
    if ignored:
        targets[1::2] = -100
    return [x, weight / hidden**0.5, bias], targets


def results(
    tensors: list[Tensor], targets: Tensor, *, compiled: bool, factor: float = 1.0, smoothing: float = 0.0
) -> list[Tensor]:
    """The loss and its gradients by x, W and b, of our function in float32, or of torch in float64.

    The loss is without smoothing, and its gradients are with it.
    """
    leaves = [tensor.clone().requires_grad_() if compiled else tensor.double().requires_grad_() for tensor in tensors]
    if compiled:
        loss = smoothed = linear_cross_entropy(*leaves, targets, "numba", smoothing)
    else:
        logits = nn.functional.linear(*leaves)
        loss = nn.functional.cross_entropy(logits, targets)
        smoothed = nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
    (smoothed * factor).backward()
    return [loss.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def assert_equal(got: list[Tensor], expected: list[Tensor]) -> None:
    assert len(got) == len(expected) == 4
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max() + 1e-7


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.integers(1, 70), st.integers(1, 300), st.booleans(), st.sampled_from([0.0, 0.01, 0.5]))
def test_loss_and_gradients_equal_torch(
    symbols_read: int, hidden: int, vocabulary: int, ignored: bool, smoothing: float
) -> None:
    tensors, targets = problem(symbols_read, hidden, vocabulary, ignored=ignored)
    got, expected = (results(tensors, targets, compiled=each, smoothing=smoothing) for each in (True, False))
    assert_equal(got, expected)


def test_blocks_of_logits_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, targets = problem(101, 40, 9, ignored=True)
    monkeypatch.setattr(operations, "BLOCK", 32 * 17)
    assert_equal(results(tensors, targets, compiled=True), results(tensors, targets, compiled=False))


def test_the_gradient_is_scaled_like_the_loss() -> None:
    tensors, targets = problem(20, 33, 40)
    got = results(tensors, targets, compiled=True, factor=-0.25)
    assert_equal(got, results(tensors, targets, compiled=False, factor=-0.25))


def test_large_logits_do_not_overflow() -> None:
    (x, weight, bias), targets = problem(20, 33, 40)
    tensors = [x * 1e3, weight, bias]
    assert_equal(results(tensors, targets, compiled=True), results(tensors, targets, compiled=False))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_is_not_hidden(place: int) -> None:
    tensors, targets = problem(20, 33, 40)
    tensors[place].view(-1)[3] = torch.nan
    assert results(tensors, targets, compiled=True)[0].isnan()


@pytest.mark.parametrize("target", [-1, 40, 2**40])
def test_a_target_outside_the_vocabulary_touches_no_memory_and_gives_nan(target: int) -> None:
    tensors, targets = problem(20, 33, 40)
    targets[7] = target
    assert results(tensors, targets, compiled=True)[0].isnan()


def test_the_threads_do_not_change_a_bit() -> None:
    tensors, targets = problem(300, 70, 65)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(results(tensors, targets, compiled=True))
    torch.set_num_threads(1)
    for others in found[1:]:
        assert all(ours.equal(first) for ours, first in zip(others, found[0], strict=True))


def test_float64_takes_the_plain_function_and_passes_gradcheck() -> None:
    tensors, targets = problem(4, 3, 5)
    leaves = [tensor.double().requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *args: linear_cross_entropy(*args, targets), leaves)


def test_smoothing_changes_the_gradients_of_the_plain_function_alone() -> None:
    tensors, targets = problem(20, 7, 9, ignored=True)
    leaves = [tensor.double().requires_grad_() for tensor in tensors]
    loss = linear_cross_entropy(*leaves, targets, smoothing=0.1)
    loss.backward()
    expected = results(tensors, targets, compiled=False, smoothing=0.1)
    for ours, theirs in zip([loss.detach(), *(leaf.grad for leaf in leaves)], expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert loss.equal(linear_cross_entropy(*leaves, targets))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 200), st.integers(1, 140), st.integers(1, 140))
def test_linear_equals_torch(rows: int, inputs: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    tensors = [torch.randn(shape, generator=generator) for shape in ((2, rows, inputs), (outputs, inputs), (outputs,))]
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    exact = [tensor.double().requires_grad_() for tensor in tensors]
    got, expected = linear(*leaves, "numba"), nn.functional.linear(*exact)  # type: ignore[misc]
    gradient = torch.randn(got.shape, generator=generator)
    got.backward(gradient)
    expected.backward(gradient.double())
    pairs = [(got.detach(), expected.detach())]
    pairs += [(leaf.grad, other.grad) for leaf, other in zip(leaves, exact, strict=True)]  # type: ignore[misc]
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max() + 1e-6
