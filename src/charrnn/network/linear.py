"""Linear layers, and the output layer with its cross-entropy: by torch, or compiled for CPUs with the kernel `numba`.

N symbol, K input, M output, H hidden unit, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from charrnn.network.recurrence import nearest_kernel


def linear(x: Tensor, weight_MK: Tensor, bias_M: Tensor, kernel: str = "auto") -> Tensor:
    """Return W x + b, [..., M], for vectors x, [..., K]."""
    if not _compiled(x, kernel):
        return nn.functional.linear(x, weight_MK, bias_M)
    result: Tensor = _Linear.apply(x.flatten(0, -2), weight_MK, bias_M)
    return result.view(*x.shape[:-1], -1)


def linear_cross_entropy(
    x_NH: Tensor, weight_VH: Tensor, bias_V: Tensor, targets_N: Tensor, kernel: str = "auto", smoothing: float = 0.0
) -> Tensor:
    """Return the mean of -ln softmax(W x + b)[target], in nats per symbol; targets of -100 do not count.

    With `smoothing`, only the gradients change: they are those of the cross-entropy with smoothed labels, where a share
    `smoothing` of each target is spread evenly over all V symbols (Szegedy 2016).
    The compiled function holds a block of logits at a time, and knows the gradients as soon as it knows the loss.
    """
    if torch.is_grad_enabled() and _compiled(x_NH, kernel):
        compiled: Tensor = _LinearCrossEntropy.apply(x_NH, weight_VH, bias_V, targets_N, smoothing)
        return compiled
    logits_NV = nn.functional.linear(x_NH, weight_VH, bias_V)
    loss = nn.functional.cross_entropy(logits_NV, targets_N)
    if smoothing == 0:
        return loss
    smoothed = nn.functional.cross_entropy(logits_NV, targets_N, label_smoothing=smoothing)
    return loss.detach() + (smoothed - smoothed.detach())


def _compiled(x: Tensor, kernel: str) -> bool:
    """Return whether the compiled functions belong to this kernel here."""
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    return nearest_kernel(kernel, x.device, x.dtype) == "numba"


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_NK: Tensor, weight_MK: Tensor, bias_M: Tensor) -> Tensor:
        from charrnn.network.compiled import operations  # imported on use, because numba takes a moment to load

        ctx.save_for_backward(x_NK, weight_MK)
        return operations.product(x_NK, weight_MK.t()).add_(bias_M)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_NM: Tensor) -> tuple[Tensor | None, ...]:
        from charrnn.network.compiled import operations

        x_NK, weight_MK = ctx.saved_tensors
        x_gradient_NK = operations.product(gradient_NM, weight_MK) if ctx.needs_input_grad[0] else None
        return x_gradient_NK, operations.transposed_product(gradient_NM, x_NK), gradient_NM.sum(0)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_NH: Tensor, weight_VH: Tensor, bias_V: Tensor, targets_N: Tensor, smoothing: float
    ) -> Tensor:
        from charrnn.network.compiled import operations

        loss, *gradients = operations.linear_cross_entropy(x_NH, weight_VH, bias_V, targets_N, smoothing)
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        if gradient != 1:  # often it is, and this saves a pass over them
            gradients = tuple(each * gradient for each in gradients)
        return (*gradients, None, None)
