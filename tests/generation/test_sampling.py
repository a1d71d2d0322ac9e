import numpy as np
import pytest
import torch

from charrnn.generation.sampling import Sampling
from charrnn.utils.errors import RequestError

LOGITS = np.array([0.3, -1.0, 2.0, 0.0, 1.9], dtype=np.float32)


def probabilities(sampling: Sampling, logits: np.ndarray = LOGITS) -> np.ndarray:
    weights = sampling.weights(logits[None])[0]
    return weights / weights.sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_drawn_frequencies_are_those_of_the_softmax(temperature: float) -> None:
    drawn = Sampling(temperature).pick(np.repeat(LOGITS[None], 20_000, axis=0), np.random.default_rng(0).random(20_000))
    counts = np.bincount(drawn, minlength=5)
    expected = 20_000 * torch.softmax(torch.from_numpy(LOGITS) / temperature, 0).numpy()
    assert ((counts - expected) ** 2 / expected).sum() < 18.47  # 4 degrees of freedom, p = 0.001


def test_truncation_equals_its_definition() -> None:
    p = torch.softmax(torch.from_numpy(LOGITS).double(), 0).numpy()  # most likely first: 2, 4, 0, 3, 1
    for sampling, kept in (
        (Sampling(top_k=2), [2, 4]),
        (Sampling(top_k=99), [0, 1, 2, 3, 4]),
        (Sampling(top_p=p[2] * 0.99), [2]),
        (Sampling(top_p=p[2] * 1.01), [2, 4]),
        (Sampling(top_p=0.0), [2]),
        (Sampling(top_p=1.0), [0, 1, 2, 3, 4]),
        (Sampling(min_p=p[0] / p[2] * 0.99), [0, 2, 4]),
        (Sampling(min_p=1.0), [2]),
        (
            Sampling(top_k=3, top_p=(p[2] + p[4]) / (p[2] + p[4] + p[0]) * 1.01),
            [0, 2, 4],
        ),  # of the symbols that top_k keeps
    ):
        expected = np.zeros(5)
        expected[kept] = p[kept] / p[kept].sum()
        np.testing.assert_allclose(probabilities(sampling), expected, rtol=1e-6, err_msg=str(sampling))
    assert np.count_nonzero(probabilities(Sampling(top_k=2), np.zeros(5))) == 2  # ties do not add symbols


def test_the_edges_of_a_draw() -> None:
    def pick(logits: list[float], temperature: float, uniform: float, **cuts: int) -> int:
        return int(Sampling(temperature, **cuts).pick(np.array([logits]), np.array([uniform]))[0])

    almost_one = np.nextafter(1.0, 0.0)
    assert pick([0.0, 0.0], 1.0, 0.0) == 0
    assert pick([0.0, 0.0], 1.0, almost_one) == 1
    assert pick([5.0, 5.0, -1e30], 1.0, almost_one) == 1
    assert pick([3.0, 0.0, 0.0, 0.0], 1.0, almost_one, top_k=1) == 0
    assert pick([1.0, 9.0], 1e-300, 0.5) == 1
    assert pick([1.0, 9.0], 0, 0.0) == 1
    assert pick([700.0, -700.0], 1.0, almost_one) == 0


def test_nan_and_infinite_logits_still_give_symbols() -> None:
    for value in (np.nan, np.inf):
        with np.errstate(invalid="ignore"):
            ids_B = Sampling(0.8).pick(np.full((3, 5), value), np.full(3, 0.5))
        assert ((ids_B >= 0) & (ids_B < 5)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.5}, "temperature must be a number of at least 0"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"top_k": 0}, "top_k must be a positive integer"),
        ({"top_p": 1.5}, "top_p must be a number of at least 0 and at most 1, got 1.5"),
        ({"min_p": -1}, "min_p must be a number"),
    ],
)
def test_wrong_settings(settings: dict[str, float], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Sampling(**settings)  # type: ignore[arg-type]
