"""Monitors of what happens along a text: gradient by time lag, Lyapunov exponent, effective context.

T time step, B batch lane, K time lag, L layer.
"""

from functools import partial
from typing import Any

import numpy as np

from charrnn.analysis import gradient_flow, memory
from charrnn.training.callbacks.monitor import Monitor, Plots, Snapshot, Values, layer_suffixes
from charrnn.utils.validation import require_integer
from charrnn.visualization import diagnostic_plots

BURN_IN_STEPS = 32  # until the state no longer depends on the zero state at the beginning


class GradientByLag(Monitor):
    """Logs the gradient of an error with respect to the state k steps earlier, relative to lag 1.

    It logs the lags 2, 4, 8 and so on, and the lag at which the gradient falls below 1% (`largest_lag` if it does not),
    and plots the gradient over the lag and over the training. The error is that of one character in each lane.
    """

    def __init__(self, when: str, lanes: int, largest_lag: int) -> None:
        super().__init__(when)
        self._lanes, self._largest = require_integer("lanes", lanes), require_integer("largest_lag", largest_lag, 2)
        self._shares_by_step: dict[int, list[list[float]]] = {}  # [K, L]

    def state_dict(self) -> dict[str, Any]:
        return {"shares": self._shares_by_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._shares_by_step = state_dict["shares"]

    def measure(self, snapshot: Snapshot) -> tuple[Values, Plots]:
        batch = snapshot.read_lanes(self._lanes, BURN_IN_STEPS + self._largest)
        lags = gradient_flow.lag_points(min(self._largest, len(batch.inputs_TB)))
        norms_KL = gradient_flow.gradient_by_lag(snapshot.network, batch.inputs_TB, batch.targets_TB[-1], lags).cpu()
        if not (norms_KL[0].all() and norms_KL.isfinite().all()):  # all units are dead, or the gradient explodes
            return {}, {}
        shares_KL: list[list[float]] = (norms_KL / norms_KL[0]).tolist()
        # A resumed run repeats the validation of its step, and with another `largest_lag` the plot starts over.
        earlier = self._shares_by_step.items()
        self._shares_by_step = {
            step: shares for step, shares in earlier if step < snapshot.step and len(shares) == len(shares_KL)
        }
        self._shares_by_step[snapshot.step] = shares_KL
        values: Values = {}
        shares_LK = list(zip(*shares_KL, strict=True))
        for layer, shares_K in zip(layer_suffixes(len(shares_LK)), shares_LK, strict=True):
            by_lag = dict(zip(lags, shares_K, strict=True))
            values |= {f"gradient/lag_{k}{layer}": by_lag[k] for k in lags[1:] if k.bit_count() == 1}
            values[f"gradient/vanishing_lag{layer}"] = float(gradient_flow.vanishing_lag(lags, shares_K) or lags[-1])
        plots: Plots = {}
        limits = (snapshot.chunk_length, gradient_flow.VANISHED_SHARE)
        for i, suffix in enumerate(layer_suffixes(len(shares_LK))):
            by_step = {step: [row_L[i] for row_L in rows_KL] for step, rows_KL in self._shares_by_step.items()}
            plots[f"gradient/by_lag{suffix}"] = partial(diagnostic_plots.gradient_by_lag, by_step, lags, *limits)
            plots[f"gradient/over_training{suffix}"] = partial(diagnostic_plots.gradient_over_training, by_step, lags)
        return values, plots


class Lyapunov(Monitor):
    """Logs the largest Lyapunov exponent in nats per character, along `steps` characters in each of `lanes` lanes."""

    def __init__(self, when: str, lanes: int, steps: int) -> None:
        super().__init__(when)
        self._lanes, self._steps = require_integer("lanes", lanes), require_integer("steps", steps)

    def measure(self, snapshot: Snapshot) -> tuple[Values, Plots]:
        inputs_TB = snapshot.read_lanes(self._lanes, 2 * BURN_IN_STEPS + self._steps).inputs_TB
        if len(inputs_TB) <= 2 * BURN_IN_STEPS:
            return {}, {}
        exponent = gradient_flow.lyapunov_exponent(snapshot.network, inputs_TB, burn_in=BURN_IN_STEPS)
        return {"network/lyapunov": exponent}, {}


class Memory(Monitor):
    """Logs the effective context: the number of characters beyond which more context hardly lowers the loss.

    It also plots the loss over the context length, up to `context`. If the network uses more context than can be
    measured, it logs the largest measurable number, about half of `context`.
    """

    def __init__(self, when: str, context: int) -> None:
        super().__init__(when)
        self._context = require_integer("context", context, 2)

    def measure(self, snapshot: Snapshot) -> tuple[Values, Plots]:
        loss = memory.loss_by_context(snapshot.network, snapshot.ids, self._context)
        if loss is None or not np.isfinite(loss).all():
            return {}, {}
        characters = memory.effective_context(loss)
        reset_K, carried_K = map(memory.octave_means, loss)
        losses = (reset_K, carried_K, characters)
        logged = float(characters or memory.max_effective_context(loss))
        return {"memory/characters": logged}, {
            "memory/loss_by_context": partial(diagnostic_plots.loss_by_context, *losses, snapshot.step),
            "memory/gain_by_context": partial(diagnostic_plots.gain_by_context, *losses, memory.MIN_GAIN),
        }
