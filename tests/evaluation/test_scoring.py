import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from charrnn.evaluation.scoring import (
    CHARACTERS_PER_LANE,
    Score,
    carried_lanes,
    score_carried,
    score_dynamic,
    score_windows,
)
from charrnn.network import CharRNN
from charrnn.utils.errors import RequestError

Make = Callable[..., CharRNN]
V = 7


def ids(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(V, size=n).astype(np.uint8)


def nats_of(network: CharRNN, sequence: np.ndarray) -> float:
    """Return the nats of one sequence from a zero state, computed step by step."""
    state, nats = network.initial_state(1), 0.0
    for x, y in itertools.pairwise(sequence):
        logits, state = network.step(torch.tensor([int(x)]), state)
        nats -= nn.functional.log_softmax(logits[0], 0)[int(y)].item()
    return nats


def test_carried_is_one_pass_from_the_first_character_to_the_last(make_network: Make) -> None:
    network, text = make_network(layers=2).double(), ids(700)
    score = score_carried(network, text)
    assert score.characters == 699
    assert score.nats == pytest.approx(nats_of(network, text), rel=1e-12)


def test_long_texts_are_read_in_lanes(make_network: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [carried_lanes(n) for n in (2, 199_999, 200_000, 1_000_000)] == [1, 1, 2, 10]
    assert CHARACTERS_PER_LANE == 100_000
    monkeypatch.setattr("charrnn.evaluation.scoring.CHARACTERS_PER_LANE", 100)
    network, text = make_network().double(), ids(302)  # 3 lanes of 101, 101 and 99 targets
    score = score_carried(network, text)
    assert score.characters == 301
    expected = sum(nats_of(network, text[start : start + 102]) for start in (0, 101, 202))
    assert score.nats == pytest.approx(expected, rel=1e-12)


def test_large_tensors_are_read_in_parts(make_network: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    network, text = make_network(hidden=8).double(), ids(302)
    expected = score_carried(network, text), score_windows(network, text, window=16)
    sizes = []
    unroll = network.unroll
    monkeypatch.setattr(network, "unroll", lambda *read: (sizes.append(read[0].numel()), unroll(*read))[1])
    monkeypatch.setattr("charrnn.evaluation.scoring.MAX_NUMBERS", 40 * 8)
    got = score_carried(network, text), score_windows(network, text, window=16)
    assert max(sizes) == 40 and len(sizes) > 16
    for one, other in zip(got, expected, strict=True):
        assert (one.characters, one.nats) == (other.characters, pytest.approx(other.nats, rel=1e-12))


def test_windows_start_from_zero_and_drop_the_rest(make_network: Make) -> None:
    network, text = make_network().double(), ids(70)
    score = score_windows(network, text, window=16)
    assert score.characters == 64
    expected = sum(nats_of(network, text[16 * i : 16 * i + 17]) for i in range(4))
    assert score.nats == pytest.approx(expected, rel=1e-12)


def test_scores_of_an_untrained_network(make_network: Make) -> None:
    score = score_carried(make_network(trained=False, output_std=0.0), ids(100))
    assert score.nats_per_char == pytest.approx(math.log(V), rel=1e-6)
    assert score.bits_per_char == pytest.approx(math.log2(V), rel=1e-6)
    assert score.perplexity == pytest.approx(V, rel=1e-6)
    assert Score(nats=1e6, characters=1).perplexity == math.inf


def test_dynamic_evaluation_learns_from_the_scored_text_but_does_not_change_the_network(make_network: Make) -> None:
    network, text = make_network(layers=2), np.tile(ids(50), 40)
    before = [parameter.clone() for parameter in network.parameters()]
    static = score_dynamic(network, text, 0.0)
    assert static.characters == len(text) - 1
    assert static.nats == pytest.approx(score_carried(network, text).nats, rel=1e-5)
    assert score_dynamic(network, text, 0.1).nats < 0.8 * static.nats
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), before, strict=True))
    with pytest.raises(RequestError, match="rate must be a number of at least 0, got -1"):
        score_dynamic(network, text, -1)


def test_texts_that_are_too_short_are_errors(make_network: Make) -> None:
    with pytest.raises(RequestError, match="at least 2 characters, got 1"):
        score_carried(make_network(), ids(1))
    with pytest.raises(RequestError, match="a window of 8 needs a text of 9 characters, got 8"):
        score_windows(make_network(), ids(8), 8)
