"""Matmuls by oneDNN, for float32 on CPUs.

torch sends float32 matmuls to another library (MKL), which on some processors does not use their widest vectors: oneDNN
was up to 2.2 times as fast where this was measured (docs/benchmark.md). The operations are those that torch.compile
emits for CPUs. They are not part of torch's public interface, so `serves` looks before they are used, and whoever
calls them has torch's own matmul beside it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FEWEST_ROWS = 64  # below, a call costs more than it saves
ROWS_AT_ONCE = 1024


def serves(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN is there and is the better choice for tensors of this kind."""
    return (
        device.type == "cpu"
        and dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )


def packed(weight: Tensor, rows: int) -> Tensor:
    """`weight` [out, in] in the order in which oneDNN reads it best, for `x @ weight.T` with that many rows of x."""
    result: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
    return result


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight.T + bias for x [rows, in], weight [out, in] (packed or not), bias [out]."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return result


def product_plus(x: Tensor, weight: Tensor, addend: Tensor) -> Tensor:
    """x @ weight.T + addend for addend [rows, out], in one operation."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, addend, weight, None, "add")
    return result


def transposed_product(a: Tensor, b: Tensor) -> Tensor:
    """a.T @ b for a [rows, m], b [rows, n]: the gradient of a weight.

    oneDNN copies both into an order of its own; some rows at a time keep these copies small, at no cost in time.
    """
    if not serves(a.device, a.dtype):
        return a.t() @ b
    parts = zip(a.split(ROWS_AT_ONCE), b.split(ROWS_AT_ONCE), strict=True)
    some_a, some_b = next(parts)
    result = product(some_a.t(), some_b.t())
    for some_a, some_b in parts:
        result.add_(product(some_a.t(), some_b.t()))
    return result


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x @ weight.T + bias, [..., in] -> [..., out], the same as `torch.nn.functional.linear`; differentiable once."""
    rows = x.numel() // x.shape[-1]
    if rows < FEWEST_ROWS or torch.is_autocast_enabled(x.device.type) or not serves(x.device, x.dtype):
        return nn.functional.linear(x, weight, bias)
    flat: Tensor = _Linear.apply(x.reshape(rows, -1), weight, bias)
    return flat.view(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        x_needed, weight_needed, bias_needed = ctx.needs_input_grad
        return (
            product(gradient, weight.t()) if x_needed else None,
            transposed_product(gradient, x) if weight_needed else None,
            gradient.sum(0) if bias_needed else None,
        )
