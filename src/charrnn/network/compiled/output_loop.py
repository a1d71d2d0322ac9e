"""The compiled loop of the output layer and its cross-entropy, for one thread's share of the rows; see `loops`.

Its functions become part of the loop (`forceinline`). Otherwise a process that has just compiled them calls copies that
were optimized by themselves, which sum in another order than those in the loop that later processes find in the cache.
"""

from math import log
from typing import Any

import numba
import numpy as np
from numba import cfunc, njit

from charrnn.network.compiled.intrinsics import as_float, caching, call, floats_at, integers_at, invoke
from charrnn.network.compiled.loops import LOOP, NONE, ROWS

library: Any = numba  # which does not declare all that it has
USE_CACHE = caching()
IGNORED = -100  # a target that does not count


@njit(fastmath={"nnan", "nsz", "reassoc"}, forceinline=True, cache=USE_CACHE)
def _add(row_V: Any, bias_V: Any) -> Any:
    """Add the bias to a row; return its maximum. NaN may be missed: the exponentials find it."""
    largest = row_V[0] + bias_V[0]
    for c in range(len(row_V)):
        value = row_V[c] + bias_V[c]
        row_V[c] = value
        largest = value if value > largest else largest
    return largest


@njit(fastmath={"contract", "nsz", "reassoc"}, forceinline=True, cache=USE_CACHE)
def _exponentials(row_V: Any, largest: Any) -> Any:
    """Replace the numbers of a row by exp(number - largest); return their sum. Errs by some 1e-7 of each.

    exp(x) = 2^n exp(r), with |r| <= ln(2) / 2, where a polynomial of Cephes is accurate.
    """
    total = np.float32(0)
    for c in range(len(row_V)):
        x = row_V[c] - largest
        x = np.float32(-87) if x < np.float32(-87) else x
        n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
        r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
        p = np.float32(1.9875691500e-4)
        p = p * r + np.float32(1.3981999507e-3)
        p = p * r + np.float32(8.3334519073e-3)
        p = p * r + np.float32(4.1665795894e-2)
        p = p * r + np.float32(1.6666665459e-1)
        p = p * r + np.float32(5.0000001201e-1)
        power = as_float(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))
        value = (p * r * r + r + np.float32(1)) * power
        row_V[c] = value
        total += value
    return total


@njit(forceinline=True, cache=USE_CACHE, error_model="numpy")
def _cross_entropy(row_V: Any, bias_V: Any, target: int, scale: Any, shares_2: Any) -> Any:
    """Add the bias to a row of logits; return its cross-entropy in nats, and leave the gradient times scale there.

    The gradient is that of a label of which the target has the first share, and every symbol the second.
    """
    if target == IGNORED:
        row_V[:] = 0
        return np.float32(0)
    if target < 0 or target >= len(row_V):
        row_V[:] = np.nan
        return np.float32(np.nan)
    largest = _add(row_V, bias_V)
    logit = row_V[target]
    total = _exponentials(row_V, largest)
    factor = scale / total
    everywhere = scale * shares_2[1]
    for c in range(len(row_V)):
        row_V[c] = row_V[c] * factor - everywhere
    row_V[target] -= scale * shares_2[0]
    return np.float32(log(total)) - (logit - largest)


@cfunc(LOOP, cache=USE_CACHE, error_model="numpy")
def output_layer(pointer: Any) -> None:
    """Compute this thread's share of the mean cross-entropy, in nats, of a block of the rows of x [all_rows, hidden].

    `nats` gets the share of each row in the mean, `gradient` its derivative by x, and `logits` [rows, symbols] that by
    the logits. `targets` and their address are of int64; `shares` are those of `_cross_entropy`.
    """
    parameters = library.carray(pointer, (17,))
    step, begin, rows, all_rows, hidden, symbols = parameters[:6]
    x, packed, bias, targets, nats, logits, packed_back, gradient, shares, rank_at, size_at = parameters[6:]
    rank, size = call(rank_at), call(size_at)
    first, last = begin + rows * rank // size, begin + rows * (rank + 1) // size
    bias_V, targets_N = library.carray(floats_at(bias), (symbols,)), library.carray(integers_at(targets), (all_rows,))
    nats_N, logits_NV = library.carray(floats_at(nats), (all_rows,)), library.carray(floats_at(logits), (rows, symbols))
    shares_2 = library.carray(floats_at(shares), (2,))
    scale = np.float32(1) / np.float32(np.sum(targets_N != IGNORED))
    for start in range(first, last, ROWS):
        count = min(ROWS, last - start)
        logits_at = logits + 4 * symbols * (start - begin)
        x_at, gradient_at = x + 4 * hidden * start, gradient + 4 * hidden * start
        invoke(step, (NONE, logits_at, 0, x_at, packed, 0, count, symbols, hidden, hidden))
        for row in range(start, start + count):
            nats_N[row] = scale * _cross_entropy(logits_NV[row - begin], bias_V, targets_N[row], scale, shares_2)
        invoke(step, (NONE, gradient_at, 0, logits_at, packed_back, 0, count, hidden, symbols, symbols))
