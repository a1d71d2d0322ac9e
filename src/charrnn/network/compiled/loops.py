"""The compiled loops, each for one thread's share of the work. Importing this module compiles them, or loads them from
numba's cache on disk.

Addresses are those of float32 numbers, 4 bytes each, unless noted. A loop gets its parameters as an array of integers,
because torch's pool of threads calls it with one address. What a thread computes does not depend on their number.
`step` is called by its address, so that it is compiled once.
"""

from typing import Any

import numba
from numba import cfunc, njit, types

from charrnn.network.compiled.intrinsics import caching, call, floats_at, invoke
from charrnn.network.compiled.register_tile import COLUMNS, EPILOGUES, MAX_ROWS, make_tile

library: Any = numba  # which does not declare all that it has
USE_CACHE = caching()
FIRST_BACKWARD, NONE, ADD = (EPILOGUES.index(name) for name in ("tanh_backward", "none", "add"))
DEPTH = 128  # of a product's block: its COLUMNS of `b` stay in the first cache
ROWS = 64  # of a block of vectors: they stay in the second cache
LOOP = types.void(types.CPointer(types.int64))

_many, _some, _one = make_tile(MAX_ROWS), make_tile(4), make_tile(1)


@cfunc(types.void(*[types.int64] * 10), cache=USE_CACHE)
def step(
    epilogue: int, out: int, init: int, a: int, packed: int, h: int, lanes: int, columns: int, width: int, depth: int
) -> None:
    """Compute out = epilogue(init + a @ packed) for the rows of some lanes, with `columns` columns, at least COLUMNS.

    `a` has `width` numbers in a row, of which the first `depth` count; see `operations.packed` for the matrix.
    """
    for first in range(0, columns, COLUMNS):
        column = min(first, columns - COLUMNS)  # the last rows and columns may overlap those before
        lane = 0
        while lane < lanes:
            left = lanes - lane
            rows = MAX_ROWS if left == MAX_ROWS or left >= MAX_ROWS + 4 else 4 if lanes >= 4 else 1
            lane = min(lane, lanes - rows)
            place, row = 4 * (columns * lane + column), a + 4 * width * lane
            begin = init + place if init else 0
            if rows == MAX_ROWS:
                _many(epilogue, out + place, begin, row, packed, h + place, columns, width, 1, depth)
            elif rows == 4:
                _some(epilogue, out + place, begin, row, packed, h + place, columns, width, 1, depth)
            else:
                _one(epilogue, out + place, begin, row, packed, h + place, columns, width, 1, depth)
            lane += rows
        packed += 4 * COLUMNS * width


@cfunc(LOOP, cache=USE_CACHE, error_model="numpy")
def scan(pointer: Any) -> None:
    """Take this thread's lanes through all time steps, forward or backward."""
    parameters = library.carray(pointer, (11,))
    step, epilogue, steps, all_lanes, hidden, out, init, packed, states, rank_at, size_at = parameters
    rank, size = call(rank_at), call(size_at)
    first, last = all_lanes * rank // size, all_lanes * (rank + 1) // size
    lanes, moment, offset = last - first, 4 * all_lanes * hidden, 4 * first * hidden
    for t in range(steps if lanes > 0 else 0):
        if epilogue >= FIRST_BACKWARD:  # error[t] = (gradient[t] + error[t+1] @ W) phi'
            at = offset + (steps - 1 - t) * moment
            later, depth = out + at + moment, hidden if t else 0
            place = (out + at, init + at, later, packed, states + at)
            invoke(step, (epilogue, *place, lanes, hidden, hidden, depth))
        else:  # `out` begins with h[-1]
            at = offset + t * moment
            place = (out + at + moment, init + at, out + at, packed, 0)
            invoke(step, (epilogue, *place, lanes, hidden, hidden, hidden))


@cfunc(LOOP, cache=USE_CACHE)
def pack(pointer: Any) -> None:
    """Copy this thread's panels of a matrix [depth, columns], whose numbers are `row` and `column` numbers apart."""
    depth, columns, row, column, matrix, out, rank_at, size_at = library.carray(pointer, (8,))
    rank, size, panels = call(rank_at), call(size_at), (columns + COLUMNS - 1) // COLUMNS
    packed_PKC = library.carray(floats_at(out), (panels, depth, COLUMNS))
    numbers = library.carray(floats_at(matrix), (row * (depth - 1) + column * (columns - 1) + 1,))
    for panel in range(panels * rank // size, panels * (rank + 1) // size):
        first = min(COLUMNS * panel, columns - COLUMNS)
        if column == 1:
            for k in range(depth):
                for c in range(COLUMNS):
                    packed_PKC[panel, k, c] = numbers[row * k + first + c]
        else:
            for c in range(COLUMNS):
                for k in range(depth):
                    packed_PKC[panel, k, c] = numbers[row * k + column * (first + c)]


@njit(nogil=True, cache=USE_CACHE)
def _copy_columns(to: int, b: int, depth: int, columns: int, column: int) -> None:
    """Copy COLUMNS of the matrix `b` [depth, columns] from `column` on; past the last one there are zeros."""
    target, source = library.carray(floats_at(to), (depth, COLUMNS)), library.carray(floats_at(b), (depth, columns))
    count = min(COLUMNS, columns - column)
    for k in range(depth):
        for j in range(count):
            target[k, j] = source[k, column + j]
        for j in range(count, COLUMNS):
            target[k, j] = 0


@cfunc(LOOP, cache=USE_CACHE, error_model="numpy")
def transposed_product(pointer: Any) -> None:
    """Compute this thread's tiles of out = a.T @ b, for a [all_depth, rows] and b [all_depth, columns].

    A row of `out` has a multiple of COLUMNS numbers. `scratch` holds DEPTH * COLUMNS numbers for each thread.
    """
    all_depth, rows, columns, a, b, out, scratch, rank_at, size_at = library.carray(pointer, (9,))
    rank, size = call(rank_at), call(size_at)
    groups, panels = (rows + MAX_ROWS - 1) // MAX_ROWS, (columns + COLUMNS - 1) // COLUMNS
    first, last = groups * panels * rank // size, groups * panels * (rank + 1) // size
    stride, panel = COLUMNS * panels, scratch + 4 * rank * DEPTH * COLUMNS
    for start in range(0, all_depth, DEPTH):
        depth = min(DEPTH, all_depth - start)
        loaded = -1
        for item in range(first, last):
            column, row = COLUMNS * (item // groups), MAX_ROWS * (item % groups)
            if loaded != column:
                _copy_columns(panel, b + 4 * start * columns, depth, columns, column)
                loaded = column
            end = min(row + MAX_ROWS, rows)
            while row < end:
                place, corner = out + 4 * (stride * row + column), a + 4 * (rows * start + row)
                epilogue = ADD if start else NONE  # each block is summed by itself, which rounds less
                if end - row == MAX_ROWS:
                    _many(epilogue, place, 0, corner, panel, place, stride, 1, rows, depth)
                    row += MAX_ROWS
                elif end - row >= 4:
                    _some(epilogue, place, 0, corner, panel, place, stride, 1, rows, depth)
                    row += 4
                else:
                    _one(epilogue, place, 0, corner, panel, place, stride, 1, rows, depth)
                    row += 1


@cfunc(LOOP, cache=USE_CACHE)
def product(pointer: Any) -> None:
    """Compute this thread's rows of out = a @ packed, for a [all_rows, depth] and out [all_rows, columns]."""
    step, all_rows, depth, columns, a, packed, out, rank_at, size_at = library.carray(pointer, (9,))
    rank, size = call(rank_at), call(size_at)
    first, last = all_rows * rank // size, all_rows * (rank + 1) // size
    for start in range(first, last, ROWS):
        place = (out + 4 * columns * start, 0, a + 4 * depth * start, packed, 0)
        invoke(step, (NONE, *place, min(ROWS, last - start), columns, depth, depth))
