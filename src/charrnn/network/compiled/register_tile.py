"""The inner loop of the compiled kernel, as a tile of vectors that stay in registers, written in LLVM's language.

    out = epilogue(init + a @ b),   a [rows, K], b [K, columns]

A tile has `rows` lanes and two vectors of columns. Its sums are held in registers over the whole depth K, so that each
weight is read once for all rows. Plain loops leave this to LLVM, which finds about two thirds of the speed.
"""

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

FLOAT, INT32, INT64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
VECTORS = 2  # of columns
EPILOGUES = ("tanh", "relu", "tanh_backward", "relu_backward", "none", "add")
CONTRACT = ("contract",)  # a product and a sum may become one operation, which rounds once
# tanh(x) = x p(x^2) / q(x^2) for |x| <= 7.9, where it is 1 - 3e-7: a rational function that errs by some 1e-7. These
# coefficients are widely used; Eigen has them too.
TANH_LIMIT = 7.90531110763549805
TANH_P = (
    -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05,
    6.37261928875436e-04, 4.89352455891786e-03,
)  # fmt: skip
TANH_Q = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)


def vector_width() -> int:
    """Return how many float32 numbers a vector register of this processor holds."""
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx") else 4


WIDTH = vector_width()
COLUMNS = VECTORS * WIDTH
VECTOR = ir.VectorType(FLOAT, WIDTH)
# The most rows whose sums fit into the registers: 32 of them, but 16 with AVX and AVX2.
MAX_ROWS = 6 if WIDTH == 8 else 8


def make_tile(rows: int) -> Any:
    """Return a function for compiled code: tile(epilogue, out, init, a, b, h, stride, a_row, a_step, depth).

    Addresses are those of float32 numbers: `out`, `init` and `h` have `stride` numbers in a row; `a` has its rows
    `a_row` numbers apart, and its columns `a_step`; `b` is [depth, COLUMNS] without gaps. An `init` of 0 stands for
    zeros. `epilogue` is the index of one of EPILOGUES; those of the backward pass multiply by the derivative at the
    state `h`; "add" adds `h`.
    """

    @intrinsic
    def tile(
        context: Any,
        epilogue: Any,
        out: Any,
        init: Any,
        a: Any,
        b: Any,
        h: Any,
        stride: Any,
        a_row: Any,
        a_step: Any,
        depth: Any,
    ) -> tuple[Any, Any]:
        def emit(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            _Tile(builder, rows, *arguments).emit()
            return ir.Constant(ir.IntType(8).as_pointer(), None)

        return types.void(*[types.int64] * 10), emit

    return tile


class _Tile:
    """Emits the instructions of one tile."""

    def __init__(self, builder: Any, rows: int, *arguments: Any) -> None:
        self.builder, self.rows = builder, rows
        self.epilogue, self.out, self.init, self.a, self.b, self.h, *rest = arguments
        self.stride, self.a_row, self.a_step, self.depth = rest

    def emit(self) -> None:
        builder = self.builder
        places = [(row, vector) for row in range(self.rows) for vector in range(VECTORS)]
        sums = self._products(self._initial(places))
        blocks, end = [builder.append_basic_block() for _ in EPILOGUES], builder.append_basic_block()
        choice = builder.switch(self.epilogue, blocks[-1])
        for index, (name, block) in enumerate(zip(EPILOGUES, blocks, strict=True)):
            choice.add_case(INT64(index), block)
            builder.position_at_end(block)
            for place, total in zip(places, sums, strict=True):
                result = self._epilogue(name, total, place)
                pointer = builder.inttoptr(self._place(self.out, *place), VECTOR.as_pointer())
                builder.store(result, pointer).align = 4
            builder.branch(end)
        builder.position_at_end(end)

    def _initial(self, places: list[tuple[int, int]]) -> list[Any]:
        """Emit the reading of `init`; return its vectors."""
        builder = self.builder
        before, read, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.cbranch(builder.icmp_signed("!=", self.init, INT64(0)), read, after)
        builder.position_at_end(read)
        loaded = [self._load(self._place(self.init, *place)) for place in places]
        builder.branch(after)
        builder.position_at_end(after)
        return [self._either((_splat(0), before), (vector, read)) for vector in loaded]

    def _either(self, *values: tuple[Any, Any]) -> Any:
        """Return the value that belongs to the block from which the current one is entered."""
        phi = self.builder.phi(values[0][0].type)
        for value, block in values:
            phi.add_incoming(value, block)
        return phi

    def _products(self, initial: list[Any]) -> list[Any]:
        """Emit the loop over the depth; return the sums."""
        builder = self.builder
        rows = [self._row(self.a, row, self.a_row) for row in range(self.rows)]
        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.cbranch(builder.icmp_signed(">", self.depth, INT64(0)), loop, after)
        builder.position_at_end(loop)
        k, offset, sums = builder.phi(INT64), builder.phi(INT64), [builder.phi(VECTOR) for _ in initial]
        weights = self._at(self.b, builder.mul(k, INT64(COLUMNS)))
        columns = [self._load(builder.add(weights, INT64(4 * WIDTH * vector))) for vector in range(VECTORS)]
        totals = []
        for row in range(self.rows):
            lane = self._broadcast(builder.add(rows[row], offset))
            for vector in range(VECTORS):
                totals.append(self._add(self._multiply(lane, columns[vector]), sums[row * VECTORS + vector]))
        next_k = builder.add(k, INT64(1))
        next_offset = builder.add(offset, builder.mul(self.a_step, INT64(4)))
        builder.cbranch(builder.icmp_signed("<", next_k, self.depth), loop, after)
        firsts, laters = (INT64(0), INT64(0), *initial), (next_k, next_offset, *totals)
        for phi, first, later in zip((k, offset, *sums), firsts, laters, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(later, loop)
        builder.position_at_end(after)
        return [self._either((first, before), (later, loop)) for first, later in zip(initial, totals, strict=True)]

    def _epilogue(self, name: str, total: Any, place: tuple[int, int]) -> Any:
        builder = self.builder
        if name == "none":
            return total
        if name == "tanh":
            return self._tanh(total)
        if name == "relu":
            return builder.select(builder.fcmp_unordered(">", total, _splat(0)), total, _splat(0))
        state = self._load(self._place(self.h, *place))
        if name == "add":
            return self._add(total, state)
        if name == "tanh_backward":
            square = self._multiply(state, state)
            return self._multiply(total, builder.fsub(_splat(1), square, flags=CONTRACT))
        return builder.select(builder.fcmp_ordered(">", state, _splat(0)), total, _splat(0))

    def _tanh(self, x: Any) -> Any:
        builder = self.builder
        # NaN fails both comparisons, and stays NaN.
        x = builder.select(builder.fcmp_ordered(">", x, _splat(TANH_LIMIT)), _splat(TANH_LIMIT), x)
        x = builder.select(builder.fcmp_ordered("<", x, _splat(-TANH_LIMIT)), _splat(-TANH_LIMIT), x)
        square = self._multiply(x, x)
        p, q = (self._polynomial(square, coefficients) for coefficients in (TANH_P, TANH_Q))
        return builder.fdiv(self._multiply(x, p), q)

    def _polynomial(self, x: Any, coefficients: tuple[float, ...]) -> Any:
        result = _splat(coefficients[0])
        for coefficient in coefficients[1:]:
            result = self._add(self._multiply(result, x), _splat(coefficient))
        return result

    def _multiply(self, x: Any, y: Any) -> Any:
        return self.builder.fmul(x, y, flags=CONTRACT)

    def _add(self, x: Any, y: Any) -> Any:
        return self.builder.fadd(x, y, flags=CONTRACT)

    def _at(self, address: Any, index: Any) -> Any:
        return self.builder.add(address, self.builder.mul(index, INT64(4)))

    def _row(self, address: Any, row: int, stride: Any) -> Any:
        return self._at(address, self.builder.mul(stride, INT64(row)))

    def _place(self, address: Any, row: int, vector: int) -> Any:
        return self.builder.add(self._row(address, row, self.stride), INT64(4 * WIDTH * vector))

    def _load(self, address: Any) -> Any:
        loaded = self.builder.load(self.builder.inttoptr(address, VECTOR.as_pointer()))
        loaded.align = 4
        return loaded

    def _broadcast(self, address: Any) -> Any:
        builder = self.builder
        number = builder.load(builder.inttoptr(address, FLOAT.as_pointer()))
        number.align = 4
        undefined = ir.Constant(VECTOR, ir.Undefined)
        first = builder.insert_element(undefined, number, INT32(0))
        return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT32, WIDTH), [0] * WIDTH))


def _splat(number: float) -> Any:
    return ir.Constant(VECTOR, [float(number)] * WIDTH)
