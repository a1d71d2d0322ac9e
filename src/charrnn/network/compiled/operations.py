"""The compiled operations on tensors: float32, on a CPU.

K depth, M row, H hidden unit, V vocabulary, N symbol.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.network.compiled import threads
from charrnn.network.compiled.loading import load
from charrnn.network.compiled.register_tile import COLUMNS, EPILOGUES, MAX_ROWS

MIN_LANES_PER_THREAD = 4  # fewer would use the slow tile of one row
BLOCK = 2**18  # logits that are held at a time


@cache
def loops() -> Any:
    """Return the module of the compiled loops, from the cache on disk if possible."""
    return load("charrnn.network.compiled.loops", "the recurrence")


@cache
def output_loop() -> Any:
    """Return the module of the output layer's compiled loop."""
    return load("charrnn.network.compiled.output_loop", "the output layer")


@cache
def problem() -> str | None:
    """Return why the loops can't be compiled here, or None; compiles them, or loads them from the cache."""
    try:
        threads.openmp()
        loops()
        output_loop()
    except Exception as error:  # numba and LLVM raise many types
        return f"it can't be compiled here ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    return None


def _addresses(*tensors: Tensor) -> list[int]:
    """Return the addresses of tensors for compiled code, which could not tell numbers of another type."""
    for tensor in tensors:
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise TypeError(f"compiled code takes float32 on a CPU, got {tensor.dtype} on {tensor.device}")
    return [tensor.data_ptr() for tensor in tensors]


def packed(weight_KM: Tensor) -> Tensor:
    """Return the columns that each tile reads, [ceil(M / COLUMNS), K, COLUMNS]; the last ones may overlap."""
    (depth, columns), steps = weight_KM.shape, weight_KM.stride()
    panels = -(-columns // COLUMNS)
    out = weight_KM.new_empty(panels, depth, COLUMNS)
    threads.run(loops().pack.address, [depth, columns, *steps, *_addresses(weight_KM, out)], panels)
    return out


def scan(name: str, out_TBH: Tensor, init_TBH: Tensor, packed_weight: Tensor, states_TBH: Tensor) -> None:
    """Run the recurrence with the epilogue `name` over all time steps of `init_TBH`; see `loops.scan`."""
    steps, lanes, hidden = init_TBH.shape
    addresses = _addresses(out_TBH, init_TBH, packed_weight, states_TBH)
    parameters = [loops().step.address, EPILOGUES.index(name), steps, lanes, hidden, *addresses]
    threads.run(loops().scan.address, parameters, lanes // MIN_LANES_PER_THREAD)


def product(a_NK: Tensor, b_KM: Tensor) -> Tensor:
    """Return a @ b, [N, M], for many rows and few columns."""
    a_NK, (rows, depth), columns = a_NK.contiguous(), a_NK.shape, b_KM.shape[1]
    missing = max(0, COLUMNS - columns)
    weight = packed(nn.functional.pad(b_KM, (0, missing)) if missing else b_KM)
    out = a_NK.new_empty(rows, columns + missing)
    sizes = [rows, depth, columns + missing]
    parameters = [loops().step.address, *sizes, *_addresses(a_NK, weight, out)]
    threads.run(loops().product.address, parameters, rows // MAX_ROWS)
    return out[:, :columns]


def transposed_product(a_KM: Tensor, b_KH: Tensor) -> Tensor:
    """Return a.T @ b, [M, H]: the gradient of a weight from the errors and inputs of all its uses."""
    a_KM, b_KH = a_KM.contiguous(), b_KH.contiguous()
    (depth, rows), columns = a_KM.shape, b_KH.shape[1]
    panels = -(-columns // COLUMNS)
    out = a_KM.new_empty(rows, panels * COLUMNS)
    workers = min(torch.get_num_threads(), panels * -(-rows // MAX_ROWS))
    scratch = a_KM.new_empty(workers, loops().DEPTH * COLUMNS)
    parameters = [depth, rows, columns, *_addresses(a_KM, b_KH, out, scratch)]
    threads.run(loops().transposed_product.address, parameters, workers)
    return out[:, :columns]


def linear_cross_entropy(
    x_NH: Tensor, weight_VH: Tensor, bias_V: Tensor, targets_N: Tensor, smoothing: float = 0.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the mean cross-entropy of the logits W x + b, in nats, and its gradients by x, W and b.

    With `smoothing`, the gradients are those of the cross-entropy with smoothed labels. The logits exist only in blocks
    of about BLOCK numbers.
    """
    (count, hidden), symbols = x_NH.shape, len(bias_V)
    if targets_N.shape != (count,) or targets_N.dtype != torch.int64:
        raise TypeError(f"targets must be {count} int64, got {targets_N.dtype} of shape {list(targets_N.shape)}")
    units, others = (0, max(0, COLUMNS - hidden)), (0, max(0, COLUMNS - symbols))
    if any(units + others):  # units that are 0, and symbols that are impossible
        weight_VH, x_NH = nn.functional.pad(weight_VH, (*units, *others)), nn.functional.pad(x_NH, units)
        bias_V = nn.functional.pad(bias_V, others, value=-1e30)
    x_NH, targets_N = x_NH.contiguous(), targets_N.contiguous()
    rows = max(1, BLOCK // len(bias_V))
    nats_N, x_gradient_NH = x_NH.new_empty(count), torch.empty_like(x_NH)
    shares = x_NH.new_tensor([1 - smoothing, smoothing / symbols])  # of a label: its target, and every symbol
    sums: list[Tensor] = []
    forward, back = packed(weight_VH.t()), packed(weight_VH)
    for start in range(0, count, rows):
        block = min(rows, count - start)
        logits = x_NH.new_empty(block, len(bias_V))
        sizes = [start, block, count, x_NH.shape[1], len(bias_V)]
        read = [*_addresses(x_NH, forward, bias_V), targets_N.data_ptr()]
        parameters = [loops().step.address, *sizes, *read, *_addresses(nats_N, logits, back, x_gradient_NH, shares)]
        threads.run(output_loop().output_layer.address, parameters, block // MAX_ROWS)
        more_sums = [transposed_product(logits, x_NH[start : start + block]), logits.sum(0)]
        sums = [total + more for total, more in zip(sums, more_sums, strict=True)] if sums else more_sums
    by_weight_VH, by_bias_V = sums
    return nats_N.sum(), x_gradient_NH[:, :hidden], by_weight_VH[:symbols, :hidden], by_bias_V[:symbols]
