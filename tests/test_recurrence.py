import numpy as np
import pytest
import torch

from charrnn.errors import RequestError
from charrnn.recurrence import ACTIVATIONS, choose_kernel, elman_scan, usable_kernels

CPU = torch.device("cpu")


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("steps", [1, 6])
def test_the_equation_by_hand_in_numpy(activation: str, steps: int) -> None:
    rng = np.random.default_rng(0)
    inputs, state, weight = rng.normal(size=(steps, 3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(4, 4))
    states = elman_scan(*map(torch.from_numpy, (inputs, state, weight)), activation)
    for t in range(steps):
        a = inputs[t] + state @ weight.T
        state = np.tanh(a) if activation == "tanh" else np.maximum(a, 0)
        np.testing.assert_allclose(states[t].numpy(), state, rtol=1e-12)


def test_the_gradient_of_the_inputs_is_the_whole_error_at_t() -> None:
    inputs = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 3, dtype=torch.float64)
    states = elman_scan(inputs, torch.zeros(2, 3, dtype=torch.float64), weight, "tanh")
    states.sum().backward()
    error = torch.zeros(2, 3, dtype=torch.float64)
    assert inputs.grad is not None
    for t in reversed(range(4)):  # Werbos 1990: error_t = (dL/dh_t + error_{t+1} W) phi'(a_t)
        error = (1 + error @ weight) * (1 - states[t].detach() ** 2)
        torch.testing.assert_close(inputs.grad[t], error)


def test_kernels_and_the_reasons_against_them() -> None:
    assert usable_kernels(CPU, torch.float32, 256)["reference"] is None
    name, reason = choose_kernel("auto", CPU, torch.float32, 256)
    assert name == "reference"
    assert reason
    assert choose_kernel("reference", CPU, torch.float32, 256)[0] == "reference"
    with pytest.raises(RequestError, match="auto, reference; got 'warp'"):
        choose_kernel("warp", CPU, torch.float32, 256)
