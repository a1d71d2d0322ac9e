"""The recurrence on CPUs in float32 with oneDNN's matmul; the weight is packed once for all time steps.

As `fused` but for the matmul, whose result is a small tensor of its own before the activation puts it in its place.
"""

import torch
from torch import Tensor

from charrnn import matmul
from charrnn.recurrence import bptt
from charrnn.recurrence.fused import activation_backward


def elman_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    """states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H]; the same as `reference.elman_scan`."""
    return bptt.scan(LOOPS, inputs_TBH, state_BH, weight_HH, activation)


def _forward(states_TBH: Tensor, inputs_TBH: Tensor, weight_HH: Tensor, activation: str) -> None:
    tanh = activation == "tanh"
    before, *rest = states_TBH.unbind(0)
    if tanh:  # through the sigmoid, as `fused` explains
        inputs_TBH = torch.add(weight_HH.sum(1).mul_(-2), inputs_TBH, alpha=2, out=states_TBH[1:])
        before.add_(1).mul_(0.5)
    weight = matmul.packed(weight_HH * 4 if tanh else weight_HH, len(before))
    for inputs_BH, state_BH in zip(inputs_TBH.unbind(0), rest, strict=True):
        a_BH = matmul.product_plus(before, weight, inputs_BH)
        before = torch.sigmoid(a_BH, out=state_BH) if tanh else torch.clamp_min(a_BH, 0, out=state_BH)
    if tanh:
        torch.add(states_TBH.new_full((), -1), states_TBH, alpha=2, out=states_TBH)


def _backward(
    errors_TBH: Tensor, gradients_TBH: Tensor, states_TBH: Tensor, weight_HH: Tensor, activation: str
) -> None:
    errors, gradients, states = errors_TBH.unbind(0), gradients_TBH.contiguous().unbind(0), states_TBH.unbind(0)
    weight = matmul.packed(weight_HH.t(), errors_TBH.shape[1])
    arriving_BH = gradients[-1]
    for t in reversed(range(len(errors))):
        activation_backward(activation, arriving_BH, states[t], out=errors[t])
        if t > 0:
            arriving_BH = matmul.product_plus(errors[t], weight, gradients[t - 1])


LOOPS = bptt.Loops(_forward, _backward)
