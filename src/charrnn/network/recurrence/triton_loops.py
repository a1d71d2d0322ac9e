"""The loops over time of the Triton kernel, one CUDA kernel for small layers and one for larger ones.

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

import triton
import triton.language as tl


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
def lane_kernel(
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
def grid_kernel(
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
