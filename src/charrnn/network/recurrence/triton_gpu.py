"""The Triton kernel: one CUDA kernel computes all time steps, so that neither launches nor Python come between them.

Both directions repeat one operation, a product of the vector of the step before and a matrix:

    h[t] = phi(inputs[t] + h[t-1] W^T)          e[t] = (gradients[t] + e[t+1] W) phi'(h[t])

Small layers: a program computes one lane, a thread one unit with its column of the matrix, or half of it, in registers.
Larger layers: a program computes some units of some lanes on tensor cores, and all programs of a lane wait for each
other after each step. The states pass between them through the L2 cache, and so does the matrix if it fits nowhere
else. Sums are float32. Products of float32 numbers are exact to 2^-21 (three TF32 products), or TF32 where torch's
matmuls are. Sources: persistent RNNs, Diamos et al. 2016; three products, Ootomo and Yokota 2022.
B lane, T time step, H hidden unit.

A JIT function sees only its arguments. Names in capitals are compile-time constants.
"""

import logging
from contextlib import nullcontext
from functools import cache
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from charrnn.network.recurrence import bptt, fused, precision

log = logging.getLogger(__name__)

LARGEST_LANE_HIDDEN = 256  # the registers of a multiprocessor hold half of such a matrix, its L1 cache the other half
REGISTER_HIDDEN = 128  # they hold all of such a matrix
# Lanes and units of a program; the first that leaves no more programs than multiprocessors is used.
TILES = ((16, 32), (32, 32), (64, 32))
EXACT_TILES = ((16, 32), (16, 64))  # for float32 without TF32
SHARED_MEMORY_LEFT = 4096  # bytes of a multiprocessor that Triton may need for itself


def elman_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    """Return states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H], like `reference.elman_scan`.

    Sizes for which there are too few multiprocessors are computed by the kernel `fused`.
    """
    return bptt.scan(_LOOPS, inputs_TBH, state_BH, weight_HH, activation)


@triton.jit
def _phi(a, ACTIVATION: tl.constexpr):
    if ACTIVATION == "tanh":
        h = 2 * tl.sigmoid(2 * a) - 1
    else:
        h = tl.maximum(a, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return h


@triton.jit
def _phi_backward(error, h, ACTIVATION: tl.constexpr):
    return error * (1 - h * h) if ACTIVATION == "tanh" else tl.where(h <= 0, 0.0, error)


@triton.jit
def _rows(matrix, first, H: tl.constexpr, PADDED: tl.constexpr, PARTS: tl.constexpr):
    """Load every PARTS-th row of the matrix, from `first` on, as [unit, row]."""
    unit = tl.arange(0, PADDED)[:, None]
    row = (tl.arange(0, PADDED // PARTS) * PARTS)[None, :]
    return tl.load(matrix + (first + row) * H + unit, (unit < H) & (first + row < H), other=0.0).to(tl.float32)


@triton.jit
def _product(rows, vector, PADDED: tl.constexpr, WIDTH: tl.constexpr):
    """Return rows @ vector as the sum of a few independent sums, because one sum would wait for each addition."""
    SUMS: tl.constexpr = 4 if WIDTH >= 64 else 1
    products = tl.reshape(rows * vector[None, :], (PADDED, SUMS, WIDTH // SUMS))
    return tl.sum(tl.sum(products, axis=2), axis=1)


# Without vectors of 4 units per thread, Triton gives each thread one unit and all of its sum.
@triton.jit(do_not_specialize_on_alignment=["matrix"], do_not_specialize=["zero"])
def _lane_kernel(
    out, given, states, start, matrix, steps, lanes, zero, FORWARD: tl.constexpr, ACTIVATION: tl.constexpr,
    H: tl.constexpr, PADDED: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Compute one lane. Forward: `given` are the inputs, `start` is h[-1]. Backward: the gradients; no start."""
    unit = tl.arange(0, PADDED)
    mask = unit < H
    lane = tl.program_id(0) * H + unit
    stride = lanes * H if FORWARD else -lanes * H
    offset = lane if FORWARD else (steps - 1) * lanes * H + lane
    kept = _rows(matrix, 0, H, PADDED, PARTS)
    vector = tl.zeros((PADDED,), dtype=tl.float32)
    if FORWARD:
        vector += tl.load(start + lane, mask, other=0.0).to(tl.float32)
    x = tl.load(given + offset, mask, other=0.0).to(tl.float32)
    h = x if FORWARD else tl.load(states + offset, mask, other=0.0).to(tl.float32)
    for step in range(steps):
        # Values of the next step are loaded a step ahead, because memory takes as long as a step.
        more = unit < tl.where(step + 1 < steps, H, 0)
        next_x = tl.load(given + offset + stride, more, other=0.0).to(tl.float32)
        next_h = next_x if FORWARD else tl.load(states + offset + stride, more, other=0.0).to(tl.float32)
        if PARTS == 1:
            a = x + _product(kept, vector, PADDED, PADDED)
        else:
            even, odd = tl.split(tl.reshape(vector, (PADDED // 2, 2)))
            # `zero` keeps the compiler from loading these rows once, for which there are no registers.
            cached = _rows(matrix + step * zero, 1, H, PADDED, PARTS)
            a = x + _product(cached, odd, PADDED, PADDED // 2) + _product(kept, even, PADDED, PADDED // 2)
        result = _phi(a, ACTIVATION) if FORWARD else _phi_backward(a, h, ACTIVATION)
        stored = result.to(out.dtype.element_ty)
        tl.store(out + offset, stored, mask)
        vector = stored.to(tl.float32) if FORWARD else result
        x = next_x
        h = next_h
        offset += stride


@triton.jit
def _block(matrix, unit, row, H):
    """Load the part of the matrix in these rows and units."""
    return tl.load(matrix + row[:, None] * H + unit[None, :], (row < H)[:, None] & (unit < H)[None, :], other=0.0)


@triton.jit
def _vectors(values, lane, row, lanes, H):
    """Load values that other programs wrote, which an L1 cache would not notice."""
    mask = (lane < lanes)[:, None] & (row < H)[None, :]
    return tl.load(values + lane[:, None] * H + row[None, :], mask, other=0.0, cache_modifier=".cg")


@triton.jit
def _grid_kernel(
    out, given, states, start, matrix, arrivals, first, last, steps, lanes, H, FORWARD: tl.constexpr,
    ACTIVATION: tl.constexpr, PRECISION: tl.constexpr, WAIT: tl.constexpr, LANES: tl.constexpr, UNITS: tl.constexpr,
    BLOCKS: tl.constexpr, WIDTH: tl.constexpr, PARTS: tl.constexpr, ON_CHIP: tl.constexpr,
):  # fmt: skip
    """Compute steps `first` to `last` of LANES lanes and UNITS units, of which BLOCKS programs compute all.

    With WAIT, the programs of these lanes run at the same time, and count in `arrivals` who has finished a step.
    With ON_CHIP, their part of the matrix stays in shared memory; without, each step reads it from the L2 cache.
    """
    lane = tl.program_id(1) * LANES + tl.arange(0, LANES)
    unit = tl.program_id(0) * UNITS + tl.arange(0, UNITS)
    row = tl.arange(0, WIDTH)
    mask = (lane < lanes)[:, None] & (unit < H)[None, :]
    values = lane[:, None] * H + unit[None, :]
    rows = ()
    if ON_CHIP:
        for part in tl.static_range(PARTS):
            rows += (_block(matrix, unit, row + part * WIDTH, H),)  # type: ignore[assignment]
    for step in range(first, last):
        t = step if FORWARD else steps - 1 - step
        offset = t.to(tl.int64) * lanes * H  # type: ignore[union-attr]  # Triton makes a number of every integer
        x = tl.load(given + offset + values, mask, other=0.0).to(tl.float32)
        h = x if FORWARD else tl.load(states + offset + values, mask, other=0.0).to(tl.float32)
        a = x
        if FORWARD or step > 0:
            if WAIT and step > 0:
                while tl.atomic_add(arrivals + tl.program_id(1), 0, sem="acquire") < step * BLOCKS:
                    pass
            before = out + offset - lanes * H if FORWARD else out + offset + lanes * H
            if FORWARD and step == 0:
                before = start
            if ON_CHIP:
                loaded = ()
                for part in tl.static_range(PARTS):
                    loaded += (_vectors(before, lane, row + part * WIDTH, lanes, H),)  # type: ignore[assignment]
                for part in tl.static_range(PARTS):
                    a = tl.dot(loaded[part], rows[part], a, input_precision=PRECISION)
            else:
                for part in range(PARTS):
                    vectors = _vectors(before, lane, row + part * WIDTH, lanes, H)
                    a = tl.dot(vectors, _block(matrix, unit, row + part * WIDTH, H), a, input_precision=PRECISION)
        result = _phi(a, ACTIVATION) if FORWARD else _phi_backward(a, h, ACTIVATION)
        tl.store(out + offset + values, result.to(out.dtype.element_ty), mask)
        if WAIT:
            tl.debug_barrier()  # all threads of this program have stored
            tl.atomic_add(arrivals + tl.program_id(1), 1, sem="release")


class Device(NamedTuple):
    """What of a GPU limits the programs that run at the same time; shared memory in bytes of a multiprocessor."""

    multiprocessors: int
    shared_memory: int


H100 = Device(132, 232_448)


class Plan(NamedTuple):
    """How a layer is spread over programs, with the constants of the kernel that computes it."""

    programs: tuple[int, ...]
    constants: dict[str, Any]


@cache
def plan(lanes: int, hidden: int, dtype: torch.dtype, tf32: bool, device: Device) -> Plan | None:
    """Return how to spread a layer, or None if it needs more programs at a time than there are multiprocessors."""
    if hidden <= LARGEST_LANE_HIDDEN:
        padded = max(32, triton.next_power_of_2(hidden))
        parts = 1 if hidden <= REGISTER_HIDDEN else 2
        return Plan((lanes,), {"H": hidden, "PADDED": padded, "PARTS": parts, "num_warps": padded // 32})
    exact = dtype == torch.float32 and not tf32
    for size, units in EXACT_TILES if exact else TILES:
        blocks, groups = triton.cdiv(hidden, units), triton.cdiv(lanes, size)
        if blocks * groups <= device.multiprocessors:
            break
    else:
        log.info("hint      %d sequences of %d units are too many for the kernel triton; using fused", lanes, hidden)
        return None
    # Three products per number, or more lanes, need so many registers that little may be in flight.
    width = 128
    needed = (units + size) * triton.cdiv(hidden, width) * width * dtype.itemsize + SHARED_MEMORY_LEFT
    on_chip = not exact and size == 16 and needed <= device.shared_memory
    width = width if on_chip else 64
    constants = {
        "PRECISION": "tf32x3" if exact else "tf32", "LANES": size, "UNITS": units, "BLOCKS": blocks, "WIDTH": width,
        "PARTS": triton.cdiv(hidden, width), "ON_CHIP": on_chip,
        "num_warps": 4 if on_chip or (exact and units == 32) else 8,
    }  # fmt: skip
    return Plan((blocks, groups), constants)


@cache
def _properties(device: torch.device) -> Device:
    if device.type != "cuda":
        return H100  # Triton's interpreter has no limits
    properties = torch.cuda.get_device_properties(device)
    # torch does not document this property; without it, nothing stays on the chip.
    return Device(properties.multi_processor_count, getattr(properties, "shared_memory_per_block_optin", 0))


def _run(
    out: Tensor, given: Tensor, states: Tensor, start: Tensor, matrix_HH: Tensor, activation: str, *, forward: bool
) -> bool:
    """Start the kernel that suits the size, and return whether there is one."""
    steps, lanes, hidden = out.shape
    spread = plan(lanes, hidden, out.dtype, precision.tf32_allowed(), _properties(out.device))
    if spread is None or out.numel() >= 2**31:  # positions are 32-bit numbers
        return False
    # Triton starts kernels on the current device, and from version 3.10 on it would round each product and sum.
    constants = {"FORWARD": forward, "ACTIVATION": activation, "enable_fp_fusion": True, **spread.constants}
    tensors = out, given, states, start, matrix_HH
    on_gpu = out.device.type == "cuda"
    with torch.cuda.device(out.device) if on_gpu else nullcontext():
        if len(spread.programs) == 1:
            _lane_kernel[spread.programs](*tensors, steps, lanes, 0, **constants)
            return True
        arrivals = torch.zeros(spread.programs[1], dtype=torch.int32, device=out.device)
        # Triton's interpreter runs one program after the other, so there they can't wait for each other.
        for first, last in [(0, steps)] if on_gpu else [(step, step + 1) for step in range(steps)]:
            _grid_kernel[spread.programs](
                *tensors, arrivals, first, last, steps, lanes, hidden, WAIT=on_gpu, **constants
            )
    return True


def _forward(states_TBH: Tensor, inputs_TBH: Tensor, weight_HH: Tensor, activation: str) -> None:
    inputs_TBH, matrix_HH = inputs_TBH.contiguous(), weight_HH.t().contiguous()
    if not _run(states_TBH[1:], inputs_TBH, states_TBH[1:], states_TBH[0], matrix_HH, activation, forward=True):
        fused.LOOPS.forward(states_TBH, inputs_TBH, weight_HH, activation)


def _backward(
    errors_TBH: Tensor, gradients_TBH: Tensor, states_TBH: Tensor, weight_HH: Tensor, activation: str
) -> None:
    gradients_TBH, matrix_HH = gradients_TBH.contiguous(), weight_HH.contiguous()
    if not _run(errors_TBH, gradients_TBH, states_TBH, states_TBH, matrix_HH, activation, forward=False):
        fused.LOOPS.backward(errors_TBH, gradients_TBH, states_TBH, weight_HH, activation)


_LOOPS = bptt.Loops(_forward, _backward)
