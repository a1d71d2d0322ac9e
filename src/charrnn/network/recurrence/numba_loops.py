"""The loop over time of the compiled kernel. Importing this module compiles it, or loads it from numba's cache on disk.

Addresses are those of float32 numbers, 4 bytes each.
"""

from typing import Any

import numba
from numba import cfunc, njit, types

from charrnn.network.recurrence.register_tile import COLUMNS, EPILOGUES, MAX_ROWS, call, make_tile

library: Any = numba  # which does not declare all that it has
PARAMETERS = 10
USE_CACHE = bool(library.config.CACHE_DIR)  # set by the module that imports this one
FIRST_BACKWARD = EPILOGUES.index("tanh_backward")

_many, _some, _one = make_tile(MAX_ROWS), make_tile(4), make_tile(1)


@njit(nogil=True, cache=USE_CACHE)
def _step(epilogue: int, out: int, init: int, a: int, packed: int, h: int, lanes: int, hidden: int, depth: int) -> None:
    """Compute one time step of some lanes: out = epilogue(init + a @ packed)."""
    rows = MAX_ROWS if lanes >= MAX_ROWS else 4 if lanes >= 4 else 1
    for column in range(0, hidden, COLUMNS):
        for lane in range(0, lanes, rows):
            row = 4 * hidden * min(lane, lanes - rows)  # the last rows and columns may overlap those before
            place = row + 4 * min(column, hidden - COLUMNS)
            if rows == MAX_ROWS:
                _many(epilogue, out + place, init + place, a + row, packed, h + place, hidden, depth)
            elif rows == 4:
                _some(epilogue, out + place, init + place, a + row, packed, h + place, hidden, depth)
            else:
                _one(epilogue, out + place, init + place, a + row, packed, h + place, hidden, depth)
        packed += 4 * COLUMNS * hidden


@cfunc(types.void(types.CPointer(types.int64)), cache=USE_CACHE)
def loop(pointer: Any) -> None:
    """Take this thread's lanes through all time steps, forward or backward."""
    parameters = library.carray(pointer, (PARAMETERS,))
    epilogue, steps, all_lanes, hidden, out, init, packed, states, rank_at, size_at = parameters
    rank, size = call(rank_at), call(size_at)
    first, last = all_lanes * rank // size, all_lanes * (rank + 1) // size
    lanes, moment, offset = last - first, 4 * all_lanes * hidden, 4 * first * hidden
    for t in range(steps if lanes > 0 else 0):
        if epilogue >= FIRST_BACKWARD:  # error[t] = (gradient[t] + error[t+1] @ W) phi'
            at = offset + (steps - 1 - t) * moment
            depth = hidden if t else 0
            _step(epilogue, out + at, init + at, out + at + moment, packed, states + at, lanes, hidden, depth)
        else:  # `out` begins with h[-1]
            at = offset + t * moment
            _step(epilogue, out + at + moment, init + at, out + at, packed, 0, lanes, hidden, hidden)
