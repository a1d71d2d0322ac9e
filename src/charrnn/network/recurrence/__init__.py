"""The recurrence over time: one contract, and several kernels that compute it."""

from charrnn.network.recurrence.kernels import (
    ACTIVATIONS,
    KERNELS,
    REMOVED_KERNELS,
    choose_kernel,
    elman_scan,
    usable_kernels,
)  # fmt: skip

__all__ = ["ACTIVATIONS", "KERNELS", "REMOVED_KERNELS", "choose_kernel", "elman_scan", "usable_kernels"]
