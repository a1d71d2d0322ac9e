"""Back-propagation through time (Werbos 1990), written by hand around a kernel's two loops over time.

The backward pass needs only the states, [T+1, B, H]. Its loop computes only the recursion of the error,

    error[t] = (gradient[t] + error[t+1] @ weight) * phi'(states[t]),

which is the gradient of `inputs`. One matmul after the loop turns it into the gradient of the weight.
B lane, T time step, H hidden unit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Loops(NamedTuple):
    """What a kernel computes in its own way.

    `forward(states, inputs, weight, activation)` reads h[-1] from states[0] and fills states[1:].
    `backward(errors, gradients, states, weight, activation)` gets states[1:] and fills the errors.
    `transposed_product(errors, states)` is errors.T @ states, for matrices with a row for each step and lane.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    transposed_product: Callable[[Tensor, Tensor], Tensor] = lambda errors, states: errors.t() @ states


def scan(loops: Loops, inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    """Return states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H], differentiable once."""
    states_TBH: Tensor = _Scan.apply(loops, inputs_TBH, state_BH, weight_HH, activation)
    return states_TBH


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, loops: Loops, inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str
    ) -> Tensor:
        steps, lanes, hidden = inputs_TBH.shape
        states_TBH = inputs_TBH.new_empty(steps + 1, lanes, hidden)  # h[-1] first, then h[0] ... h[T-1]
        states_TBH[0] = state_BH
        loops.forward(states_TBH, inputs_TBH, weight_HH, activation)
        ctx.save_for_backward(states_TBH, weight_HH)
        ctx.loops, ctx.activation = loops, activation
        return states_TBH[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_TBH: Tensor) -> tuple[Tensor | None, ...]:
        states_TBH, weight_HH = ctx.saved_tensors
        error_TBH = torch.empty_like(gradient_TBH, memory_format=torch.contiguous_format)
        ctx.loops.backward(error_TBH, gradient_TBH, states_TBH[1:], weight_HH, ctx.activation)
        *_, state_needed, weight_needed, _ = ctx.needs_input_grad
        state_gradient = error_TBH[0] @ weight_HH if state_needed else None
        rows = error_TBH.flatten(0, 1), states_TBH[:-1].flatten(0, 1)
        weight_gradient = ctx.loops.transposed_product(*rows) if weight_needed else None
        return None, error_TBH, state_gradient, weight_gradient, None
