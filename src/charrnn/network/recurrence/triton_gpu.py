"""The Triton kernel: one CUDA kernel per direction, with the weight kept on chip over all time steps.

A program computes all time steps of some lanes, so only inputs and states move through memory. Matmuls use the dtype
of the tensors (float32 with or without TF32, as in torch's matmul setting); sums and activations are float32.
Source: persistent RNNs, Diamos et al. 2016. B lane, T time step, H hidden unit.

A JIT function sees only its arguments. Names in capitals are compile-time constants.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from charrnn.network.recurrence import bptt

LANES_PER_PROGRAM = 16  # the minimum for tensor cores, so that as many programs as possible share the batch


def elman_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    """Return states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H], like `reference.elman_scan`."""
    return bptt.scan(_LOOPS, inputs_TBH, state_BH, weight_HH, activation)


@triton.jit
def _forward_kernel(
    states, inputs, weight, steps, lanes, H, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr, LANES: tl.constexpr,
    PADDED: tl.constexpr,
):  # fmt: skip
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    unit = tl.arange(0, PADDED)
    mask = (lane < lanes)[:, None] & (unit < H)[None, :]
    weight_mask = (unit < H)[:, None] & (unit < H)[None, :]
    offset = lane[:, None] * H + unit[None, :]
    transposed = tl.load(weight + unit[None, :] * H + unit[:, None], weight_mask, other=0.0)
    state = tl.load(states + offset, mask, other=0.0)
    for t in range(steps):
        x = tl.load(inputs + t * lanes * H + offset, mask, other=0.0).to(tl.float32)
        a = x + tl.dot(state, transposed, input_precision=PRECISION)
        if ACTIVATION == "tanh":
            h = 2 * tl.sigmoid(2 * a) - 1
        else:
            h = tl.maximum(a, 0.0)
        state = h.to(transposed.dtype)
        tl.store(states + (t + 1) * lanes * H + offset, state, mask)


@triton.jit
def _backward_kernel(
    errors, gradients, states, weight, steps, lanes, H, ACTIVATION: tl.constexpr, PRECISION: tl.constexpr,
    LANES: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    lane = tl.program_id(0) * LANES + tl.arange(0, LANES)
    unit = tl.arange(0, PADDED)
    mask = (lane < lanes)[:, None] & (unit < H)[None, :]
    weight_mask = (unit < H)[:, None] & (unit < H)[None, :]
    offset = lane[:, None] * H + unit[None, :]
    w = tl.load(weight + unit[:, None] * H + unit[None, :], weight_mask, other=0.0)
    carried = tl.zeros((LANES, PADDED), dtype=tl.float32)  # error[t+1] @ weight
    for step in range(steps):
        t = steps - 1 - step
        offset_t = t * lanes * H + offset
        h = tl.load(states + offset_t, mask, other=0.0).to(tl.float32)
        error = tl.load(gradients + offset_t, mask, other=0.0).to(tl.float32) + carried
        if ACTIVATION == "tanh":
            error = error * (1 - h * h)
        else:
            error = tl.where(h > 0, error, 0.0)
        stored = error.to(w.dtype)
        tl.store(errors + offset_t, stored, mask)
        carried = tl.dot(stored, w, input_precision=PRECISION)


def _options(tensor: Tensor, activation: str) -> dict[str, object]:
    hidden = tensor.shape[-1]
    tf32 = tensor.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32
    return {
        "ACTIVATION": activation,
        "PRECISION": "tf32" if tf32 else "ieee",
        "LANES": LANES_PER_PROGRAM,
        "PADDED": max(16, triton.next_power_of_2(hidden)),
        "num_warps": 8 if hidden > 64 else 4,
    }


def _forward(states_TBH: Tensor, inputs_TBH: Tensor, weight_HH: Tensor, activation: str) -> None:
    steps, lanes, hidden = inputs_TBH.shape
    _forward_kernel[(triton.cdiv(lanes, LANES_PER_PROGRAM),)](
        states_TBH, inputs_TBH.contiguous(), weight_HH.contiguous(), steps, lanes, hidden,
        **_options(states_TBH, activation),
    )  # fmt: skip


def _backward(
    errors_TBH: Tensor, gradients_TBH: Tensor, states_TBH: Tensor, weight_HH: Tensor, activation: str
) -> None:
    steps, lanes, hidden = errors_TBH.shape
    _backward_kernel[(triton.cdiv(lanes, LANES_PER_PROGRAM),)](
        errors_TBH, gradients_TBH.contiguous(), states_TBH, weight_HH.contiguous(), steps, lanes, hidden,
        **_options(errors_TBH, activation),
    )  # fmt: skip


_LOOPS = bptt.Loops(_forward, _backward)
