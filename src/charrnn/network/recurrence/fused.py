"""The fused kernel: two plain torch operations per time step and direction, on any device, without a compiler.

In float32 and float64, tanh(a) = 2 sigmoid(2a) - 1 is computed with the sigmoid, which is several times faster on CPUs.
With s = (h + 1) / 2 the recurrence becomes s[t] = sigmoid(2 (inputs[t] - W 1) + 4 W s[t-1]); h = 2s - 1 is computed
once at the end. In bfloat16, values of s near 1/2 would round small states away, so tanh is used.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from charrnn.network.recurrence import bptt

aten = torch.ops.aten
SIGMOID_DTYPES = (torch.float32, torch.float64)


def elman_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    """Return states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H], like `reference.elman_scan`."""
    return bptt.scan(LOOPS, inputs_TBH, state_BH, weight_HH, activation)


def _forward(states_TBH: Tensor, inputs_TBH: Tensor, weight_HH: Tensor, activation: str) -> None:
    if activation == "tanh" and inputs_TBH.dtype in SIGMOID_DTYPES:
        torch.add(weight_HH.sum(1).mul_(-2), inputs_TBH, alpha=2, out=states_TBH[1:])
        states_TBH[0].add_(1).mul_(0.5)
        _loop(states_TBH, weight_HH.t() * 4, torch.sigmoid_)
        torch.add(states_TBH.new_full((), -1), states_TBH, alpha=2, out=states_TBH)  # h = 2s - 1
    else:
        states_TBH[1:] = inputs_TBH
        _loop(states_TBH, weight_HH.t(), torch.tanh_ if activation == "tanh" else torch.relu_)


def _loop(states_TBH: Tensor, transposed_HH: Tensor, phi_: Callable[[Tensor], Tensor]) -> None:
    previous, *rest = states_TBH.unbind(0)
    for state in rest:
        previous = phi_(state.addmm_(previous, transposed_HH))


def _backward(
    errors_TBH: Tensor, gradients_TBH: Tensor, states_TBH: Tensor, weight_HH: Tensor, activation: str
) -> None:
    errors, gradients, states = errors_TBH.unbind(0), gradients_TBH.unbind(0), states_TBH.unbind(0)
    activation_backward(activation, gradients[-1], states[-1], out=errors[-1])
    for t in reversed(range(len(errors) - 1)):
        gradient_BH = torch.addmm(gradients[t], errors[t + 1], weight_HH, out=errors[t])
        activation_backward(activation, gradient_BH, states[t], out=errors[t])


def activation_backward(activation: str, gradient: Tensor, state: Tensor, *, out: Tensor) -> None:
    """Write gradient * phi'(a) to `out`, for h = state = phi(a): phi'(a) is 1 - h^2 for tanh and [h > 0] for relu.

    `out` may be the same tensor as `gradient`.
    """
    if activation == "tanh":
        aten.tanh_backward.grad_input(gradient, state, grad_input=out)
    else:
        aten.threshold_backward.grad_input(gradient, state, 0, grad_input=out)


LOOPS = bptt.Loops(_forward, _backward)
