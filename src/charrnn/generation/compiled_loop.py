"""The compiled loop of text generation. Importing this module compiles it, or loads it from numba's cache on disk.

N symbol, B text, V vocabulary, H hidden unit, L layer, P panel of columns, W its width.
"""

from math import exp
from typing import Any

import numpy as np
from numba import float32, float64, int64, njit, void

from charrnn.network.compiled.intrinsics import caching, invoke
from charrnn.network.compiled.loops import NONE

USE_CACHE = caching()


@njit(cache=USE_CACHE, error_model="numpy")
def draw(
    logits_V: Any, uniform: float, temperature: float, top_k: int, top_p: float, min_p: float, weights_V: Any
) -> int:
    """Draw a symbol as `Sampling.pick` does; a `top_k` of 0, `top_p` of 2 and `min_p` of 0 keep every symbol."""
    best = 0
    for c in range(len(weights_V)):  # more logits may be there, as padding
        if logits_V[c] != logits_V[c]:  # NaN: the symbol that NumPy takes
            return c if temperature == 0 else 0
        if logits_V[c] > logits_V[best]:
            best = c
    if temperature == 0:
        return best
    largest, total = float64(logits_V[best]), 0.0
    for c in range(len(weights_V)):
        weights_V[c] = exp((float64(logits_V[c]) - largest) / temperature)
    if top_k or top_p <= 1 or min_p:
        _truncate(weights_V, top_k, top_p, min_p)
    for weight in weights_V:
        total += weight
    limit, total = uniform * total, 0.0
    for c in range(len(weights_V)):
        total += weights_V[c]
        if total > limit:
            return c
    return 0


@njit(cache=USE_CACHE, error_model="numpy")
def _truncate(weights_V: Any, top_k: int, top_p: float, min_p: float) -> None:
    """Set the weights of all but the most likely symbols to 0."""
    order_V = np.argsort(-weights_V, kind="mergesort")  # stable
    total, before, least = 0.0, 0.0, min_p * weights_V[order_V[0]]
    for place in range(len(order_V)):
        if top_k and place >= top_k:
            weights_V[order_V[place]] = 0
        total += weights_V[order_V[place]]
    for place in range(len(order_V)):
        weight = weights_V[order_V[place]]
        if (place and top_p <= 1 and before >= top_p * total) or weight < least:
            weights_V[order_V[place]] = 0
        before += weight


MATRIX, MATRICES, PANELS = float32[:, ::1], float32[:, :, ::1], float32[:, :, :, ::1]


@njit(
    void(
        int64[:, ::1], float64[:, ::1], MATRIX, MATRICES, MATRIX, PANELS, PANELS, MATRIX, MATRICES, float32[::1],
        MATRICES, int64, int64, int64, float64, int64, float64, float64,
    ),
    nogil=True, cache=USE_CACHE, error_model="numpy",
)  # fmt: skip
def write(
    ids_NB: Any,
    uniforms_NB: Any,
    logits_BV: Any,
    states_LBH: Any,
    table_VH: Any,
    recurrent_LPHW: Any,
    inputs_LPHW: Any,
    biases_LH: Any,
    output_PHW: Any,
    output_bias_V: Any,
    scratch_3BH: Any,
    step: int,
    epilogue: int,
    residual: int,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
) -> None:
    """Fill `ids_NB` with symbols drawn from the logits; update `logits_BV` and `states_LBH` after each.

    The network is that of `CharRNN`: h_t = phi(W_xh x_t + W_hh h_{t-1} + b_h) per layer, y_t = W_hy h_t + b_y.
    """
    (layers, lanes, hidden), symbols = states_LBH.shape, len(output_bias_V)
    weights_V = np.empty(len(table_VH))
    x_BH, sums_BH, new_BH = scratch_3BH[0], scratch_3BH[1], scratch_3BH[2]
    x, sums, new, logits = x_BH.ctypes.data, sums_BH.ctypes.data, new_BH.ctypes.data, logits_BV.ctypes.data
    for n in range(len(ids_NB)):
        for b in range(lanes):
            id_ = draw(logits_BV[b], uniforms_NB[n, b], temperature, top_k, top_p, min_p, weights_V)
            ids_NB[n, b] = id_
            for h in range(hidden):
                sums_BH[b, h] = table_VH[id_, h]
        for layer in range(layers):
            if layer:
                invoke(step, (NONE, sums, 0, x, inputs_LPHW[layer].ctypes.data, 0, lanes, hidden, hidden, hidden))
                for b in range(lanes):
                    for h in range(hidden):
                        sums_BH[b, h] += biases_LH[layer, h]
            state, recurrent = states_LBH[layer].ctypes.data, recurrent_LPHW[layer].ctypes.data
            invoke(step, (epilogue, new, sums, state, recurrent, 0, lanes, hidden, hidden, hidden))
            for b in range(lanes):
                for h in range(hidden):
                    states_LBH[layer, b, h] = new_BH[b, h]
                    x_BH[b, h] = new_BH[b, h] + (x_BH[b, h] if layer and residual else float32(0))
        invoke(step, (NONE, logits, 0, x, output_PHW.ctypes.data, 0, lanes, symbols, hidden, hidden))
        for b in range(lanes):
            for c in range(symbols):
                logits_BV[b, c] += output_bias_V[c]
