"""The recurrence over time: one function, implemented by several kernels."""

from charrnn.network.recurrence.kernels import (
    ACTIVATIONS,
    KERNELS,
    REMOVED_KERNELS,
    choose_kernel,
    elman_scan,
    nearest_kernel,
    usable_kernels,
)  # fmt: skip
from charrnn.network.recurrence.precision import tf32_allowed

__all__ = [
    "ACTIVATIONS",
    "KERNELS",
    "REMOVED_KERNELS",
    "choose_kernel",
    "elman_scan",
    "nearest_kernel",
    "tf32_allowed",
    "usable_kernels",
]
