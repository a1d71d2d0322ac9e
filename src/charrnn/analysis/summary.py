"""What the diagnostics say of a network along a text: figures and charts for the page about its hidden units.

B batch lane, T time step, K time lag, L layer.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from charrnn.analysis import gradient_flow, memory, weights
from charrnn.data.batches import read_sequences
from charrnn.data.vocabulary import Ids
from charrnn.network import CharRNN

LAGS = 128  # characters back
STEPS, SETTLE = 400, 50  # of the Lyapunov exponent; at both ends SETTLE do not count
LANES = 16  # places of the text, evenly spread


def diagnose(network: CharRNN, ids: Ids) -> dict[str, Any] | None:
    """The `diagnostics` of `unit_page.page`; None for a text of only STEPS symbols or fewer."""
    if len(ids) <= STEPS:
        return None
    starts_B = np.linspace(0, len(ids) - STEPS - 1, min(LANES, len(ids) // STEPS)).astype(np.int64)
    stacked = network.settings["layers"] > 1
    figures = [
        ["spectral radius of W_hh" + f", layer {layer}" * stacked, f"{weights.spectral_radius(weight_HH):.3f}"]
        for layer, weight_HH in enumerate(weights.recurrent_matrices(network))
    ]
    inputs_TB, *_ = read_sequences(ids, starts_B, STEPS, starts=True)
    exponent = gradient_flow.lyapunov_exponent(network, inputs_TB, settle=SETTLE)
    figures.append(["largest Lyapunov exponent, nats per character", f"{exponent:+.4f}"])
    return {"figures": figures, "charts": [_gradient(network, ids, starts_B), *_memory(network, ids)]}


def _gradient(network: CharRNN, ids: Ids, starts_B: np.ndarray) -> dict[str, Any]:
    inputs_TB, targets_TB, *_ = read_sequences(ids, starts_B, LAGS, starts=True)
    lags = gradient_flow.lag_points(LAGS)
    norms_KL = gradient_flow.gradient_by_lag(network, inputs_TB, targets_TB[-1], lags).cpu().numpy()
    shares_KL = norms_KL / np.maximum(norms_KL[0], np.finfo(np.float32).tiny)
    vanishing = [gradient_flow.vanishing_lag(lags, shares_K) for shares_K in shares_KL.T.tolist()]
    found = [f"{lag:.0f}" if lag is not None else f"more than {LAGS}" for lag in vanishing]
    return {
        "title": "How much of an error reaches the state k characters earlier",
        "note": f"It falls below {gradient_flow.VANISHED:.0%} of that at lag 1 after {', '.join(found)} characters"
        f"{' (layer by layer)' if len(found) > 1 else ''}: the network hardly learns from what lies further back.",
        "x": {"label": "lag k, characters", "log": False},
        "y": {"label": "gradient, share of lag 1", "log": True},
        "series": [_series(f"layer {layer}", lags, shares_K) for layer, shares_K in enumerate(shares_KL.T.tolist())],
    }


def _memory(network: CharRNN, ids: Ids) -> Iterator[dict[str, Any]]:
    loss = memory.loss_by_context(network, ids, LAGS)
    if loss is None:
        return
    characters, contexts = memory.effective_context(loss), range(1, len(loss.reset_K) + 1)
    beyond = f"{characters}" if characters is not None else f"more than {memory.largest_answer(loss)}"
    curves = {"from a zero state": loss.reset_K, "state carried": loss.carried_K}
    yield {
        "title": "How far back the network looks",
        "note": f"The loss after k characters from a zero state, beside that of the same characters with the state "
        f"carried on. More context stops helping after {beyond} characters (by {memory.HELPS:g} nats).",
        "x": {"label": "characters read since the zero state", "log": True},
        "y": {"label": "bits per character", "log": False},
        "series": [_series(name, contexts, (loss_K / math.log(2)).tolist()) for name, loss_K in curves.items()],
    }


def _series(name: str, across: Iterable[int], values: list[float]) -> dict[str, Any]:
    return {"name": name, "points": [list(point) for point in zip(across, values, strict=True)]}
