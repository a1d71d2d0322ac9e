"""The compiled kernel for CPUs in float32: each thread takes its lanes through all time steps, without a barrier.

B lane, T time step, H hidden unit.
"""

from torch import Tensor, nn

from charrnn.network.compiled import operations
from charrnn.network.compiled.operations import packed
from charrnn.network.compiled.register_tile import COLUMNS
from charrnn.network.recurrence import bptt


def elman_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    """Return states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H], like `reference.elman_scan`."""
    hidden = weight_HH.shape[0]
    if hidden < COLUMNS:  # units that are and stay 0
        more = (0, COLUMNS - hidden)
        padded = (nn.functional.pad(inputs_TBH, more), nn.functional.pad(state_BH, more))
        return elman_scan(*padded, nn.functional.pad(weight_HH, more * 2), activation)[..., :hidden]
    return bptt.scan(_LOOPS, inputs_TBH, state_BH, weight_HH, activation)


def _forward(states_TBH: Tensor, inputs_TBH: Tensor, weight_HH: Tensor, activation: str) -> None:
    operations.scan(activation, states_TBH, inputs_TBH.contiguous(), packed(weight_HH.t()), states_TBH)


def _backward(
    errors_TBH: Tensor, gradients_TBH: Tensor, states_TBH: Tensor, weight_HH: Tensor, activation: str
) -> None:
    name = f"{activation}_backward"
    operations.scan(name, errors_TBH, gradients_TBH.contiguous(), packed(weight_HH), states_TBH)


_LOOPS = bptt.Loops(_forward, _backward, operations.transposed_product)
