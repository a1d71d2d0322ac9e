"""The reference kernel: the equation as a plain loop, differentiated by autograd. It specifies all other kernels."""

from collections.abc import Callable

import torch
from torch import Tensor

PHI: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


def elman_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    """Return states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H]. Elman 1990; for BPTT, Werbos 1990."""
    phi = PHI[activation]
    transposed_HH = weight_HH.t()
    states = []
    for inputs_BH in inputs_TBH.unbind(0):
        state_BH = phi(torch.addmm(inputs_BH, state_BH, transposed_HH))
        states.append(state_BH)
    return torch.stack(states)
