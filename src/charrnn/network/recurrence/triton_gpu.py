"""The recurrence in one CUDA kernel per direction, written in Triton: the weight stays on chip over all time steps.

A program owns some batch lanes and walks through time with them; nothing but inputs and states moves. The state is
multiplied in the type of the tensors (float32 by TF32 or, as torch's matmul setting says, in full), sums and
activation are float32. Source: persistent RNNs, Diamos et al. 2016.

A JIT function sees only its arguments: names in capitals are known when it is compiled.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from charrnn.network.recurrence import bptt

LANES = 16  # per program: the smallest that the tensor cores take, so that many programs share the batch


def elman_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    """states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H]; the same as `reference.elman_scan`."""
    return bptt.scan(_forward, _backward, inputs_TBH, state_BH, weight_HH, activation)


@triton.jit
def _forward_kernel(
    states, inputs, weight, steps, lanes, H, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr, LANES: tl.constexpr,
    PADDED: tl.constexpr,
):  # fmt: skip
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    unit = tl.arange(0, PADDED)
    used = (lane < lanes)[:, None] & (unit < H)[None, :]
    square = (unit < H)[:, None] & (unit < H)[None, :]
    place = lane[:, None] * H + unit[None, :]
    transposed = tl.load(weight + unit[None, :] * H + unit[:, None], square, other=0.0)
    state = tl.load(states + place, used, other=0.0)
    for t in range(steps):
        x = tl.load(inputs + t * lanes * H + place, used, other=0.0).to(tl.float32)
        a = x + tl.dot(state, transposed, input_precision=PRECISION)
        if ACTIVATION == "tanh":
            h = 2 * tl.sigmoid(2 * a) - 1
        else:
            h = tl.maximum(a, 0.0)
        state = h.to(transposed.dtype)
        tl.store(states + (t + 1) * lanes * H + place, state, used)


@triton.jit
def _backward_kernel(
    errors, gradients, states, weight, steps, lanes, H, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    LANES: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    unit = tl.arange(0, PADDED)
    used = (lane < lanes)[:, None] & (unit < H)[None, :]
    square = (unit < H)[:, None] & (unit < H)[None, :]
    place = lane[:, None] * H + unit[None, :]
    w = tl.load(weight + unit[:, None] * H + unit[None, :], square, other=0.0)
    carried = tl.zeros((LANES, PADDED), dtype=tl.float32)  # error[t+1] @ weight
    for back in range(steps):
        t = steps - 1 - back
        here = t * lanes * H + place
        h = tl.load(states + here, used, other=0.0).to(tl.float32)
        error = tl.load(gradients + here, used, other=0.0).to(tl.float32) + carried
        if ACTIVATION == "tanh":
            error = error * (1 - h * h)
        else:
            error = tl.where(h > 0, error, 0.0)
        stored = error.to(w.dtype)
        tl.store(errors + here, stored, used)
        carried = tl.dot(stored, w, input_precision=PRECISION)


def _options(tensor: Tensor, activation: str) -> dict[str, object]:
    hidden = tensor.shape[-1]
    tf32 = tensor.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32
    return {
        "ACTIVATION": activation,
        "PRECISION": "tf32" if tf32 else "ieee",
        "LANES": LANES,
        "PADDED": max(16, triton.next_power_of_2(hidden)),
        "num_warps": 8 if hidden > 64 else 4,
    }


def _forward(states_TBH: Tensor, inputs_TBH: Tensor, weight_HH: Tensor, activation: str) -> None:
    steps, lanes, hidden = inputs_TBH.shape
    _forward_kernel[(triton.cdiv(lanes, LANES),)](
        states_TBH, inputs_TBH.contiguous(), weight_HH.contiguous(), steps, lanes, hidden,
        **_options(states_TBH, activation),
    )  # fmt: skip


def _backward(
    errors_TBH: Tensor, gradients_TBH: Tensor, states_TBH: Tensor, weight_HH: Tensor, activation: str
) -> None:
    steps, lanes, hidden = errors_TBH.shape
    _backward_kernel[(triton.cdiv(lanes, LANES),)](
        errors_TBH, gradients_TBH.contiguous(), states_TBH, weight_HH.contiguous(), steps, lanes, hidden,
        **_options(errors_TBH, activation),
    )  # fmt: skip
