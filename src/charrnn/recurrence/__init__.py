"""The recurrence over time, one contract and several kernels.

    states[t] = phi(inputs[t] + states[t-1] @ weight.T),   states[-1] = state

B batch lane, T time step, H hidden unit. `inputs_TBH` already holds W_xh x_t + b_h for all T at once.
Every kernel computes the same function and the same gradients; `reference` is the specification.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from charrnn.errors import RequestError, require_choice
from charrnn.recurrence import reference

Kernel = Callable[[Tensor, Tensor, Tensor, str], Tensor]
KERNELS: dict[str, Kernel] = {"reference": reference.elman_scan}
ACTIVATIONS = ("tanh", "relu")


def usable_kernels(device: torch.device, dtype: torch.dtype, hidden: int) -> dict[str, str | None]:
    """Every kernel's name, with None where it can serve or the reason why it cannot."""
    return {"reference": None}


def choose_kernel(requested: str, device: torch.device, dtype: torch.dtype, hidden: int) -> tuple[str, str]:
    """The kernel that serves, and why; `auto` follows a fixed table, so that a resumed run repeats it.

    Raises `RequestError` for an unknown kernel and for one that cannot serve here.
    """
    require_choice("kernel", requested, ("auto", *KERNELS))
    if requested == "auto":
        return "reference", "the only kernel there is"
    reason = usable_kernels(device, dtype, hidden)[requested]
    if reason is not None:
        raise RequestError(f"kernel={requested} cannot serve here: {reason}; write kernel=auto")
    return requested, "as asked"


def elman_scan(
    inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str, kernel: str = "auto"
) -> Tensor:
    """All states of one layer: states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H].

    `activation` is tanh or relu. Source: Elman 1990.
    """
    name, _ = choose_kernel(kernel, inputs_TBH.device, inputs_TBH.dtype, weight_HH.shape[0])
    return KERNELS[name](inputs_TBH, state_BH, weight_HH, activation)
