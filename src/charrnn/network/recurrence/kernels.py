"""The recurrence over time, one contract and several kernels.

    states[t] = phi(inputs[t] + states[t-1] @ weight.T),   states[-1] = state

B batch lane, T time step, H hidden unit. `inputs_TBH` already holds W_xh x_t + b_h for all T at once.
Every kernel computes the same function and the same gradients; `reference` is the specification.
"""

import importlib.util
from collections.abc import Callable

import torch
from torch import Tensor

from charrnn.network.recurrence import fused, reference
from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_choice

Kernel = Callable[[Tensor, Tensor, Tensor, str], Tensor]


def _triton_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    from charrnn.network.recurrence import triton_gpu  # optional: only who asks for it needs Triton

    return triton_gpu.elman_scan(inputs_TBH, state_BH, weight_HH, activation)


KERNELS: dict[str, Kernel] = {"reference": reference.elman_scan, "fused": fused.elman_scan, "triton": _triton_scan}
REMOVED_KERNELS = ("onednn",)  # checkpoints may name them
# Above, a weight does not fit into the registers of one multiprocessor.
TRITON_LARGEST_HIDDEN = {torch.float32: 128, torch.bfloat16: 256}
ACTIVATIONS = ("tanh", "relu")


def usable_kernels(device: torch.device, dtype: torch.dtype, hidden: int) -> dict[str, str | None]:
    """Every kernel's name, with None where it can serve or the reason why it cannot."""
    return {"reference": None, "fused": None, "triton": _reason_against_triton(device, dtype, hidden)}


def _reason_against_triton(device: torch.device, dtype: torch.dtype, hidden: int) -> str | None:
    if device.type != "cuda":
        return f"it needs a CUDA device, this is {device.type}"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    largest = TRITON_LARGEST_HIDDEN.get(dtype)
    if largest is None:
        return f"it computes in {' or '.join(map(str, TRITON_LARGEST_HIDDEN))}, not in {dtype}"
    if hidden > largest:
        return f"a hidden size above {largest} does not fit on chip in {dtype}"
    return None


def choose_kernel(requested: str, device: torch.device, dtype: torch.dtype, hidden: int) -> tuple[str, str]:
    """The kernel that serves, and why; `auto` follows a fixed table, so that a resumed run repeats it.

    Raises `RequestError` for an unknown kernel and for one that cannot serve here.
    """
    require_choice("kernel", requested, ("auto", *KERNELS))
    if requested == "auto":  # as measured (docs/benchmark.md); on a GPU triton waits for measurements
        return "fused", f"chosen for {device.type} and {str(dtype).removeprefix('torch.')}"
    reason = usable_kernels(device, dtype, hidden)[requested]
    if reason is not None:
        raise RequestError(f"kernel={requested} cannot serve here: {reason}; write kernel=auto")
    return requested, "as asked"


def elman_scan(
    inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str, kernel: str = "auto"
) -> Tensor:
    """All states of one layer: states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H].

    `activation` is tanh or relu. Under autocast all is computed in its type. Source: Elman 1990.
    """
    device = inputs_TBH.device
    if torch.is_autocast_enabled(device.type):
        # The in-place operations of the fast kernels are not among those that autocast turns to its type by itself.
        dtype = torch.get_autocast_dtype(device.type)
        with torch.autocast(device.type, enabled=False):
            return elman_scan(inputs_TBH.to(dtype), state_BH.to(dtype), weight_HH.to(dtype), activation, kernel)
    name, _ = choose_kernel(kernel, device, inputs_TBH.dtype, weight_HH.shape[0])
    return KERNELS[name](inputs_TBH, state_BH, weight_HH, activation)
