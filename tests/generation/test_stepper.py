from collections.abc import Callable

import numpy as np
import pytest
import torch

from charrnn.generation.stepper import as_floats, numpy_stepper, read_text, stepper, torch_stepper
from charrnn.network import CharRNN

Make = Callable[..., CharRNN]
NETWORKS = [
    {},
    {"layers": 3, "activation": "relu", "recurrent_gain": 0.3},
    {"layers": 3, "residual": True, "dropout": 0.5},
]
GATED = [{"cell": kind, "layers": 2} for kind in ("gru", "lstm")]


@pytest.mark.parametrize("settings", NETWORKS + GATED, ids=str)
@pytest.mark.parametrize("lanes", [1, 4])
def test_steps_equal_unroll(make_network: Make, settings: dict[str, object], lanes: int) -> None:
    network = make_network(**settings).eval()
    ids_TB = np.random.default_rng(0).integers(0, 7, (400, lanes))
    with torch.no_grad():
        expected_TBV, _ = network.unroll(torch.from_numpy(ids_TB), network.initial_state(lanes))
    last_BV, state_LBS = read_text(network.train(), ids_TB[:300])
    np.testing.assert_allclose(last_BV, expected_TBV[299], rtol=1e-5, atol=1e-5)
    for make_stepper in (stepper, torch_stepper) if "cell" in settings else (stepper, torch_stepper, numpy_stepper):
        step = make_stepper(network, state_LBS)
        stepped_TBV = np.stack([step(ids_B) for ids_B in ids_TB[300:]])
        np.testing.assert_allclose(stepped_TBV, expected_TBV[300:], rtol=1e-5, atol=1e-5)
    assert network.training


def test_a_step_does_not_change_the_network_or_the_first_state(make_network: Make) -> None:
    network = make_network(layers=2)
    weights = [parameter.clone() for parameter in network.parameters()]
    _, state_LBS = read_text(network, np.array([[1], [2]]))
    before = state_LBS.clone()
    numpy_stepper(network, state_LBS)(np.array([3]))
    assert torch.equal(state_LBS, before)
    assert all(torch.equal(parameter, old) for parameter, old in zip(network.parameters(), weights, strict=True))


def test_as_floats_keeps_float64_and_widens_bfloat16() -> None:
    assert as_floats(torch.zeros(2, dtype=torch.float64)).dtype == np.float64
    assert as_floats(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32
