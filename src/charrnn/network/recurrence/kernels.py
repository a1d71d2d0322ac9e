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
TRITON_CAPABILITY = (8, 0)  # of products in TF32 and bfloat16
TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ACTIVATIONS = ("tanh", "relu")


def usable_kernels(device: torch.device, dtype: torch.dtype) -> dict[str, str | None]:
    """Return for each kernel None if it is available here, or the reason why it is not."""
    return {kernel: _why_not(kernel, device, dtype) for kernel in KERNELS}


@cache
def _why_not(kernel: str, device: torch.device, dtype: torch.dtype) -> str | None:
    if kernel == "numba":
        return _why_not_numba(device.type, dtype)
    return _why_not_triton(device, dtype) if kernel == "triton" else None


def _why_not_numba(device: str, dtype: torch.dtype) -> str | None:
    if device != "cpu":
        return f"it runs on the CPU, not on {device}"
    if dtype != torch.float32:
        return f"it supports torch.float32, not {dtype}"
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed"
    from charrnn.network.compiled import operations

    return operations.problem()


def _why_not_triton(device: torch.device, dtype: torch.dtype) -> str | None:
    if device.type != "cuda":
        return f"it needs a CUDA device, not {device.type}"
    if torch.cuda.is_available() and (
        torch.version.hip or torch.cuda.get_device_capability(device) < TRITON_CAPABILITY
    ):
        return "it needs an NVIDIA GPU with compute capability 8.0 or more"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if dtype not in TRITON_DTYPES:
        return f"it supports {', '.join(map(str, TRITON_DTYPES))}, not {dtype}"
    return None


def choose_kernel(requested: str, device: torch.device, dtype: torch.dtype) -> tuple[str, str]:
    """Return the kernel to use, and why. `auto` depends only on fixed rules, so a resumed run uses the same kernel.

    Raises `RequestError` if the kernel is unknown or not available here.
    """
    require_choice("kernel", requested, ("auto", *KERNELS))
    if requested == "auto":  # the fastest in docs/benchmark.md
        return _automatic(device, dtype), f"chosen for {device.type} and {str(dtype).removeprefix('torch.')}"
    reason = _why_not(requested, device, dtype)
    if reason is not None:
        raise RequestError(f"model.kernel={requested} is not available here: {reason}; use model.kernel=auto")
    return requested, "as requested"


@cache  # logs the hint once
def _automatic(device: torch.device, dtype: torch.dtype) -> str:
    fastest = {"cpu": "numba", "cuda": "triton"}.get(device.type)
    if fastest is None or (device.type == "cpu" and dtype != torch.float32):
        return "fused"
    reason = _why_not(fastest, device, dtype)
    if reason is not None:
        log.info("hint      model.kernel=%s, the fastest here, is not available: %s; using fused", fastest, reason)
    return fastest if reason is None else "fused"


@cache  # called for every sequence
def nearest_kernel(requested: str, device: torch.device, dtype: torch.dtype) -> str:
    """Return the requested kernel if it is available here, and otherwise what `auto` chooses."""
    require_choice("kernel", requested, ("auto", *KERNELS))
    available = requested != "auto" and _why_not(requested, device, dtype) is None
    return requested if available else _automatic(device, dtype)


def elman_scan(
    inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str, kernel: str = "auto"
) -> Tensor:
    """Return all states of one layer: states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H].

    phi is tanh or relu (`activation`). Under autocast, everything is computed in its dtype. Where `kernel` is not
    available, `auto` is used, so that a CPU can read a network that was trained on a GPU. Source: Elman 1990.
    """
    device = inputs_TBH.device
    if torch.is_autocast_enabled(device.type):
        # Autocast does not cast the in-place operations of the fast kernels, so cast their arguments here.
        dtype = torch.get_autocast_dtype(device.type)
        with torch.autocast(device.type, enabled=False):
            return elman_scan(inputs_TBH.to(dtype), state_BH.to(dtype), weight_HH.to(dtype), activation, kernel)
    return KERNELS[nearest_kernel(kernel, device, inputs_TBH.dtype)](inputs_TBH, state_BH, weight_HH, activation)
