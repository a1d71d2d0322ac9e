from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.generation import writer
from charrnn.generation.sampling import Sampling
from charrnn.generation.stepper import read_text
from charrnn.generation.writer import compiled_writer, make_writer, stepping_writer
from charrnn.network import CharRNN

Make = Callable[..., CharRNN]
NETWORKS = [
    {},
    {"hidden": 33, "activation": "relu", "recurrent_gain": 0.3},
    {"hidden": 5, "layers": 3, "residual": True, "dropout": 0.5},
    {"hidden": 70, "layers": 2, "residual": False},
]
SAMPLINGS = [
    Sampling(0.8), Sampling(0), Sampling(1.5, top_k=3), Sampling(1, top_p=0.7), Sampling(1, min_p=0.1),
    Sampling(0.7, top_k=5, top_p=0.9, min_p=0.05),
]  # fmt: skip


def written(make: Callable[..., writer.Writer], network: CharRNN, sampling: Sampling, texts: int, n: int) -> Any:
    logits_BV, state_LBS = read_text(network, np.array([[1], [0], [1]]))
    write = make(network, sampling, logits_BV.expand(texts, -1), state_LBS.expand(-1, texts, -1))
    blocks = np.random.default_rng(3).random((2, n, texts))  # two calls: the state is kept between them
    return np.array([ids for uniforms_NB in blocks for ids in write(uniforms_NB)])


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
@pytest.mark.parametrize("settings", NETWORKS, ids=str)
@pytest.mark.parametrize("texts", [1, 13])
def test_the_compiled_writer_writes_the_same(
    make_network: Make, settings: dict[str, Any], sampling: Sampling, texts: int
) -> None:
    network = make_network(**settings)
    ids_NB = written(compiled_writer, network, sampling, texts, 60)
    assert ids_NB.shape == (120, texts)
    np.testing.assert_array_equal(ids_NB, written(stepping_writer, network, sampling, texts, 60))


def test_it_neither_changes_the_network_nor_the_state(make_network: Make) -> None:
    network = make_network(hidden=40)
    first = written(compiled_writer, network, Sampling(1), 2, 20)
    np.testing.assert_array_equal(first, written(compiled_writer, network, Sampling(1), 2, 20))


@pytest.mark.parametrize(
    ("settings", "compiled"),
    [({"kernel": "auto"}, True), ({"kernel": "numba"}, True), ({"kernel": "fused"}, False), ({"cell": "gru"}, False)],
    ids=str,
)
def test_the_kernel_decides_who_writes(
    make_network: Make, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], compiled: bool
) -> None:
    called = []
    monkeypatch.setattr(writer, "compiled_writer", lambda *_: called.append(True))
    monkeypatch.setattr(writer, "stepping_writer", lambda *_: called.append(False))
    network = make_network(**settings)
    make_writer(network, Sampling(), torch.zeros(1, 7), network.initial_state(1))
    make_writer(network.double(), Sampling(), torch.zeros(1, 7), network.initial_state(1))
    assert called == [compiled, False]


FRACTIONS = st.floats(0, 1)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from([-2.0, 0.0, 0.5, 3.0]), st.floats(-30, 30, width=32)), min_size=1, max_size=40),
    st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 1e-20, 0.3, 1.0, 7.0]),
    st.none() | st.integers(1, 45), st.none() | FRACTIONS, st.none() | FRACTIONS,
)  # fmt: skip
def test_draws_are_those_of_numpy(
    logits: list[float], uniform: float, temperature: float, top_k: int | None, top_p: float | None, min_p: float | None
) -> None:
    logits_1V = np.array([logits], np.float32)
    sampling = Sampling(temperature, top_k, top_p, min_p)
    weights_V = np.empty(len(logits))
    drawn = writer.loop().draw(logits_1V[0], uniform, *writer.choices(sampling), weights_V)
    picked = sampling.pick(logits_1V, np.array([uniform]))[0]
    if drawn != picked:  # exp may differ in its last bit, and the number lie between
        kept_V = sampling.weights(logits_1V)[0]
        sums = np.cumsum(kept_V / kept_V.sum())
        assert abs(sums[min(drawn, picked)] - uniform) < 1e-12 and kept_V[drawn] > 0


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_the_draws_of_a_diverged_network_are_those_of_numpy(bad: float, temperature: float) -> None:
    logits_1V = np.array([[0.5, 1, bad, 0, bad]], np.float32)
    sampling = Sampling(temperature)
    with np.errstate(invalid="ignore"):
        picked = sampling.pick(logits_1V, np.array([0.5]))[0]
    assert writer.loop().draw(logits_1V[0], 0.5, *writer.choices(sampling), np.empty(5)) == picked
