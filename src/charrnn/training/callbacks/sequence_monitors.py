"""What can be watched along the text: gradients, small differences, memory.

T time step, B batch lane, K time lag, L layer.
"""

from functools import partial
from typing import Any

import numpy as np

from charrnn.analysis import gradient_flow, memory
from charrnn.training.callbacks.monitor import Monitor, Plots, Subject, Values
from charrnn.utils.validation import require_integer
from charrnn.visualization import diagnostic_plots

SETTLE = 32  # time steps from a zero state until the network is in its stride


class GradientByLag(Monitor):
    """How much of an error reaches the state k steps earlier, up to `largest_lag`, as a share of that at lag 1.

    Figures at lags 2, 4, 8 and so on, and the lag at which it falls below one hundredth (`largest_lag` if it does not);
    a picture of curves and of a map over the training. The error is that of one character in each of so many lanes.
    """

    def __init__(self, when: str, lanes: int, largest_lag: int) -> None:
        super().__init__(when)
        self._lanes, self._largest = require_integer("lanes", lanes), require_integer("largest_lag", largest_lag, 2)
        self._shares_KL: dict[int, list[list[float]]] = {}  # by step

    def state_dict(self) -> dict[str, Any]:
        return {"shares": self._shares_KL}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._shares_KL = state_dict["shares"]

    def look(self, subject: Subject) -> tuple[Values, Plots]:
        batch = subject.lanes(self._lanes, SETTLE + self._largest)
        lags = gradient_flow.lag_points(min(self._largest, len(batch.inputs_TB)))
        norms_KL = gradient_flow.gradient_by_lag(subject.network, batch.inputs_TB, batch.targets_TB[-1], lags).cpu()
        if not (norms_KL[0].all() and norms_KL.isfinite().all()):  # all units are dead, or it explodes
            return {}, {}
        shares_KL: list[list[float]] = (norms_KL / norms_KL[0]).tolist()
        # A resume repeats the validation of its step; and with another largest lag the plot starts over.
        earlier = self._shares_KL.items()
        self._shares_KL = {at: old for at, old in earlier if at < subject.step and len(old) == len(shares_KL)}
        self._shares_KL[subject.step] = shares_KL
        values: Values = {}
        for layer, shares_K in enumerate(zip(*shares_KL, strict=True)):
            by_lag = dict(zip(lags, shares_K, strict=True))
            values |= {f"gradient/lag_{k}/layer{layer}": by_lag[k] for k in lags[1:] if k.bit_count() == 1}
            values[f"gradient/vanishing_lag/layer{layer}"] = float(
                gradient_flow.vanishing_lag(lags, shares_K) or lags[-1]
            )
        draw = partial(diagnostic_plots.gradient_by_lag, self._shares_KL, lags, subject.chunk, gradient_flow.VANISHED)
        return values, {"gradient/by_lag": draw}


class Lyapunov(Monitor):
    """The largest Lyapunov exponent along `steps` characters in so many lanes, in nats per character."""

    def __init__(self, when: str, lanes: int, steps: int) -> None:
        super().__init__(when)
        self._lanes, self._steps = require_integer("lanes", lanes), require_integer("steps", steps)

    def look(self, subject: Subject) -> tuple[Values, Plots]:
        inputs_TB = subject.lanes(self._lanes, 2 * SETTLE + self._steps).inputs_TB
        if len(inputs_TB) <= 2 * SETTLE:
            return {}, {}
        return {"network/lyapunov": gradient_flow.lyapunov_exponent(subject.network, inputs_TB, settle=SETTLE)}, {}


class Memory(Monitor):
    """The number of characters beyond which more context hardly helps, and the loss by context up to `context`.

    The number is the largest that can be found, about half of `context`, if the network looks further back.
    """

    def __init__(self, when: str, context: int) -> None:
        super().__init__(when)
        self._context = require_integer("context", context, 2)

    def look(self, subject: Subject) -> tuple[Values, Plots]:
        loss = memory.loss_by_context(subject.network, subject.ids, self._context)
        if loss is None or not np.isfinite(loss).all():
            return {}, {}
        characters = memory.effective_context(loss)
        reset_K, carried_K = map(memory.octave_means, loss)
        draw = partial(diagnostic_plots.memory, reset_K, carried_K, characters, memory.HELPS, subject.step)
        return {"memory/characters": float(characters or memory.largest_answer(loss))}, {"memory/loss_by_context": draw}
