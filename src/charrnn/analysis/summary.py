"""Run the most important diagnostics of one network on a text: metrics and charts for the HTML page.

B batch lane, T time step, K time lag, L layer.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from charrnn.analysis import gradient_flow, memory, weights
from charrnn.data.batches import read_sequences
from charrnn.data.vocabulary import Ids
from charrnn.network import CharRNN

MAX_LAG = 128  # characters
LYAPUNOV_STEPS, BURN_IN_STEPS = 400, 50  # the burn-in is skipped at both ends
LANES = 16  # spread evenly over the text


def diagnose(network: CharRNN, ids: Ids) -> dict[str, Any] | None:
    """Return the `diagnostics` of the HTML page; None for a text of at most LYAPUNOV_STEPS symbols."""
    if len(ids) <= LYAPUNOV_STEPS:
        return None
    starts_B = np.linspace(0, len(ids) - LYAPUNOV_STEPS - 1, min(LANES, len(ids) // LYAPUNOV_STEPS)).astype(np.int64)
    stacked = network.settings["layers"] > 1
    metrics = [
        ["spectral radius of W_hh" + f", layer {layer}" * stacked, f"{weights.spectral_radius(weight_HH):.3f}"]
        for layer, weight_HH in enumerate(weights.recurrent_matrices(network))
    ]
    inputs_TB, *_ = read_sequences(ids, starts_B, LYAPUNOV_STEPS, starts=True)
    exponent = gradient_flow.lyapunov_exponent(network, inputs_TB, burn_in=BURN_IN_STEPS)
    metrics.append(["largest Lyapunov exponent, nats per character", f"{exponent:+.4f}"])
    return {"metrics": metrics, "charts": [_gradient_chart(network, ids, starts_B), *_memory_charts(network, ids)]}


def _gradient_chart(network: CharRNN, ids: Ids, starts_B: np.ndarray) -> dict[str, Any]:
    inputs_TB, targets_TB, *_ = read_sequences(ids, starts_B, MAX_LAG, starts=True)
    lags = gradient_flow.lag_points(MAX_LAG)
    norms_KL = gradient_flow.gradient_by_lag(network, inputs_TB, targets_TB[-1], lags).cpu().numpy()
    shares_KL = norms_KL / np.maximum(norms_KL[0], np.finfo(np.float32).tiny)
    vanishing = [gradient_flow.vanishing_lag(lags, shares_K) for shares_K in shares_KL.T.tolist()]
    shown = [f"{lag:.0f}" if lag is not None else f"more than {MAX_LAG}" for lag in vanishing]
    shown = [f"after {count} characters" for count in shown]
    if len(shown) > 1:
        shown = [f"layer {layer}: {where}" for layer, where in enumerate(shown)]
    return {
        "title": "Gradient of an error with respect to the state k characters earlier",
        "note": f"Where it falls below {gradient_flow.VANISHED_SHARE:.0%} of its value at lag 1: {', '.join(shown)}. "
        "The network learns little from text further back.",
        "x": {"label": "lag k, characters", "log": False},
        "y": {"label": "gradient, share of lag 1", "log": True},
        "series": [_series(f"layer {layer}", lags, shares_K) for layer, shares_K in enumerate(shares_KL.T.tolist())],
    }


def _memory_charts(network: CharRNN, ids: Ids) -> Iterator[dict[str, Any]]:
    loss = memory.loss_by_context(network, ids, MAX_LAG)
    if loss is None:
        return
    characters, contexts = memory.effective_context(loss), range(1, len(loss.reset_K) + 1)
    limit = f"{characters}" if characters is not None else f"more than {memory.max_effective_context(loss)}"
    limit += " character" if characters == 1 else " characters"
    curves = {"from a zero state": loss.reset_K, "state carried over": loss.carried_K}
    yield {
        "title": "Context that the network uses",
        "note": "The loss after k characters from a zero state, and of the same characters with the state carried "
        f"over. Beyond {limit}, more context helps by less than {memory.MIN_GAIN:.2g} bits.",
        "x": {"label": "characters read since the zero state", "log": True},
        "y": {"label": "bits per character", "log": False},
        "series": [_series(name, contexts, loss_K.tolist()) for name, loss_K in curves.items()],
    }


def _series(name: str, xs: Iterable[int], ys: list[float]) -> dict[str, Any]:
    return {"name": name, "points": [list(point) for point in zip(xs, ys, strict=True)]}
