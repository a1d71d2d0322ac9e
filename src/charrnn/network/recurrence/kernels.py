"""Choose the kernel that computes the recurrence over time.

    states[t] = phi(inputs[t] + states[t-1] @ weight.T),   states[-1] = state

B lane, T time step, H hidden unit. `inputs_TBH` is W_xh x_t + b_h for all T at once.
All kernels compute the same states and gradients; `reference` specifies them.
"""

import importlib.util
import logging
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from charrnn.network.recurrence import fused, reference
from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_choice

log = logging.getLogger(__name__)

Kernel = Callable[[Tensor, Tensor, Tensor, str], Tensor]


def _numba_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    from charrnn.network.recurrence import numba_cpu  # imported on use, because numba takes a moment to load

    return numba_cpu.elman_scan(inputs_TBH, state_BH, weight_HH, activation)


def _triton_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    from charrnn.network.recurrence import triton_gpu  # imported on use, because Triton is optional

    return triton_gpu.elman_scan(inputs_TBH, state_BH, weight_HH, activation)


KERNELS: dict[str, Kernel] = {
    "reference": reference.elman_scan, "fused": fused.elman_scan, "numba": _numba_scan, "triton": _triton_scan,
}  # fmt: skip
REMOVED_KERNELS = ("onednn",)  # old checkpoints may name them
# A larger weight matrix does not fit into the registers of one multiprocessor.
TRITON_LARGEST_HIDDEN = {torch.float32: 128, torch.bfloat16: 256}
ACTIVATIONS = ("tanh", "relu")


def usable_kernels(device: torch.device, dtype: torch.dtype, hidden: int) -> dict[str, str | None]:
    """Return for each kernel None if it is available here, or the reason why it is not."""
    return {kernel: _why_not(kernel, device.type, dtype, hidden) for kernel in KERNELS}


@cache  # called for every sequence
def _why_not(kernel: str, device: str, dtype: torch.dtype, hidden: int) -> str | None:
    if kernel == "numba":
        return _why_not_numba(device, dtype)
    return _why_not_triton(device, dtype, hidden) if kernel == "triton" else None


def _why_not_numba(device: str, dtype: torch.dtype) -> str | None:
    if device != "cpu":
        return f"it runs on the CPU, not on {device}"
    if dtype != torch.float32:
        return f"it supports torch.float32, not {dtype}"
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed"
    from charrnn.network.compiled import operations

    return operations.problem()


def _why_not_triton(device: str, dtype: torch.dtype, hidden: int) -> str | None:
    if device != "cuda":
        return f"it needs a CUDA device, not {device}"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    largest = TRITON_LARGEST_HIDDEN.get(dtype)
    if largest is None:
        return f"it supports {' and '.join(map(str, TRITON_LARGEST_HIDDEN))}, not {dtype}"
    if hidden > largest:
        return f"it supports a hidden size of at most {largest} in {dtype}, not {hidden}"
    return None


def choose_kernel(requested: str, device: torch.device, dtype: torch.dtype, hidden: int) -> tuple[str, str]:
    """Return the kernel to use, and why. `auto` depends only on fixed rules, so a resumed run uses the same kernel.

    Raises `RequestError` if the kernel is unknown or not available here.
    """
    require_choice("kernel", requested, ("auto", *KERNELS))
    if requested == "auto":  # the fastest in docs/benchmark.md; triton has no GPU measurements yet
        return _automatic(device.type, dtype), f"chosen for {device.type} and {str(dtype).removeprefix('torch.')}"
    reason = _why_not(requested, device.type, dtype, hidden)
    if reason is not None:
        raise RequestError(f"model.kernel={requested} is not available here: {reason}; use model.kernel=auto")
    return requested, "as requested"


@cache  # warns once
def _automatic(device: str, dtype: torch.dtype) -> str:
    if device != "cpu" or dtype != torch.float32:
        return "fused"
    reason = _why_not_numba(device, dtype)
    if reason is not None:
        log.info("hint      model.kernel=numba, the fastest on CPUs, is not available: %s; using fused", reason)
    return "numba" if reason is None else "fused"


def elman_scan(
    inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str, kernel: str = "auto"
) -> Tensor:
    """Return all states of one layer: states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H].

    phi is tanh or relu (`activation`). Under autocast, everything is computed in its dtype. Source: Elman 1990.
    """
    device = inputs_TBH.device
    if torch.is_autocast_enabled(device.type):
        # Autocast does not cast the in-place operations of the fast kernels, so cast their arguments here.
        dtype = torch.get_autocast_dtype(device.type)
        with torch.autocast(device.type, enabled=False):
            return elman_scan(inputs_TBH.to(dtype), state_BH.to(dtype), weight_HH.to(dtype), activation, kernel)
    name, _ = choose_kernel(kernel, device, inputs_TBH.dtype, weight_HH.shape[0])
    return KERNELS[name](inputs_TBH, state_BH, weight_HH, activation)
