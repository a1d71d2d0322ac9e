"""The recurrence as the equation reads: a plain loop, differentiated by autograd. The specification of all kernels."""

from collections.abc import Callable

import torch
from torch import Tensor

PHI: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


def elman_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    """states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H]. Source: Elman 1990; Werbos 1990 for BPTT."""
    phi = PHI[activation]
    transposed_HH = weight_HH.t()
    states = []
    for inputs_BH in inputs_TBH.unbind(0):
        state_BH = phi(torch.addmm(inputs_BH, state_BH, transposed_HH))
        states.append(state_BH)
    return torch.stack(states)
