"""The Triton kernel: one CUDA kernel computes all time steps, so that neither launches nor Python come between them.

This file chooses how a layer is spread over the programs of `triton_loops`, and starts them.
B lane, T time step, H hidden unit.
"""

import logging
from contextlib import nullcontext
from functools import cache
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from charrnn.network.recurrence import bptt, fused, precision
from charrnn.network.recurrence.triton_loops import grid_kernel, lane_kernel

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
            lane_kernel[spread.programs](*tensors, steps, lanes, 0, **constants)
            return True
        arrivals = torch.zeros(spread.programs[1], dtype=torch.int32, device=out.device)
        # Triton's interpreter runs one program after the other, so there they can't wait for each other.
        for first, last in [(0, steps)] if on_gpu else [(step, step + 1) for step in range(steps)]:
            grid_kernel[spread.programs](
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
