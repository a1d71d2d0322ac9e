"""Monitors of the network's weights, their updates, and its hidden states.

T time step, B batch lane, H hidden unit, L layer, S state size of one layer.
"""

from functools import partial
from math import isfinite
from typing import Any

import lightning
import numpy as np
from lightning.pytorch import Callback
from torch import Tensor

from charrnn.analysis import states, weights
from charrnn.network import CharRNN
from charrnn.training.callbacks.monitor import Monitor, Plots, Snapshot, Values, layer_suffixes
from charrnn.utils.validation import require_integer
from charrnn.visualization import diagnostic_plots


class RecurrentWeights(Monitor):
    """Logs the spectral radius, largest singular value and weights of every W_hh, and plots its whole spectrum."""

    def measure(self, snapshot: Snapshot) -> tuple[Values, Plots]:
        matrices = weights.recurrent_matrices(snapshot.network)
        if not matrices:
            return {}, {}
        eigenvalues_LH = [weights.eigenvalues(matrix_HH) for matrix_HH in matrices]
        singular_values_LH = [weights.singular_values(matrix_HH) for matrix_HH in matrices]
        values: Values = {}
        plots: Plots = {}
        for layer, eigenvalues_H, singular_values_H, matrix_HH in zip(
            layer_suffixes(len(matrices)), eigenvalues_LH, singular_values_LH, matrices, strict=True
        ):
            values[f"network/spectral_radius{layer}"] = float(np.abs(eigenvalues_H).max())
            values[f"network/largest_singular_value{layer}"] = float(singular_values_H[0])
            values[f"weights/W_hh{layer}"] = matrix_HH
            plots[f"network/eigenvalues{layer}"] = partial(diagnostic_plots.eigenvalues, eigenvalues_H, snapshot.step)
            draw = partial(diagnostic_plots.singular_values, singular_values_H, snapshot.step)
            plots[f"network/singular_values{layer}"] = draw
        return values, plots


class HiddenStates(Monitor):
    """Logs the states of each layer, their norm, and the share of saturated, or of dead and always active units.

    Units of tanh saturate, those of ReLU may be dead or always active. The state is sampled every `every` characters
    while `lanes` lanes read `length` characters each.
    """

    def __init__(self, when: str, lanes: int, length: int, every: int) -> None:
        super().__init__(when)
        self._lanes, self._length = require_integer("lanes", lanes), require_integer("length", length)
        self._every = require_integer("every", every)

    def measure(self, snapshot: Snapshot) -> tuple[Values, Plots]:
        inputs_TB = snapshot.read_lanes(self._lanes, self._length).inputs_TB
        states_TLBS = states.sample_states(snapshot.network, inputs_TB, min(self._every, len(inputs_TB)))
        activation = snapshot.network.settings.get("activation", "gates")
        shares = {
            "tanh": {"saturated": states.saturated_share},
            "relu": {"dead": states.dead_share, "always_active": states.always_active_share},
        }.get(activation, {})
        values: Values = {}
        for layer, states_TBS in zip(layer_suffixes(states_TLBS.shape[1]), states_TLBS.unbind(1), strict=True):
            values[f"states/h_t{layer}"] = states_TBS
            for name, statistic in {"state_norm": states.state_norm, **shares}.items():
                values[f"network/{name}{layer}"] = statistic(states_TBS)
        return values, {}


class Updates(Callback):
    """Logs the relative update of each weight matrix in the last step, ||W_t - W_{t-1}|| / ||W_t||.

    It logs together with the other training metrics, and must run before `Recovery`, which may replace the weights.
    """

    def __init__(self) -> None:
        self._before: dict[str, Tensor] = {}

    def on_before_optimizer_step(self, trainer: lightning.Trainer, pl_module: Any, optimizer: Any) -> None:
        if (trainer.global_step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._before = {name: weight.detach().clone() for name, weight in _matrices(pl_module.network)}

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if not self._before or not pl_module.should_log():
            return
        layers = len(pl_module.network.cells)
        ratios = {
            f"update_ratio/{_short(name, layers)}": weights.update_ratio(self._before[name], weight)
            for name, weight in _matrices(pl_module.network)
        }
        pl_module.write_metrics({tag: ratio for tag, ratio in ratios.items() if isfinite(ratio)})
        self._before = {}


def _matrices(network: CharRNN) -> list[tuple[str, Tensor]]:
    return [(name, weight.detach()) for name, weight in network.named_parameters() if weight.ndim == 2]


def _short(name: str, layers: int) -> str:
    """Shorten `cells.0.hidden_to_hidden` to `hidden_to_hidden`, of several layers to `layer0/hidden_to_hidden`."""
    parts = name.split(".")  # more of them in cells that wrap a PyTorch layer
    return name if len(parts) == 1 else f"layer{parts[1]}/{parts[-1]}" if layers > 1 else parts[-1]
