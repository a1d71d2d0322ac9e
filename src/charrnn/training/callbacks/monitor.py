"""Base class of the callbacks that measure the inside of the network during training.

T time step, B batch lane.
"""

import copy
import logging
from collections.abc import Callable
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning
import numpy as np
import torch
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from charrnn.data.batches import Batch, read_sequences
from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.network import CharRNN
from charrnn.training.logger import RESULT, run_loggers
from charrnn.utils.validation import require_choice
from charrnn.visualization import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

WHEN = ("validation", "end")

Values = dict[str, float | str | Tensor]
Plots = dict[str, Callable[[], "Figure"]]


class Snapshot(NamedTuple):
    """A copy of the network after `step`, and a text for it to read.

    `chunk_length` is the number of time steps of truncated backpropagation in training.
    """

    network: CharRNN
    vocabulary: AnyVocabulary
    ids: Ids
    chunk_length: int
    step: int

    def read_lanes(self, lanes: int, steps: int) -> Batch:
        """Return a batch of `steps` characters (fewer if the text is shorter) from evenly spread positions."""
        steps = min(steps, len(self.ids) - 1)
        starts_B = np.linspace(0, len(self.ids) - 1 - steps, lanes).astype(np.int64)
        batch, device = read_sequences(self.ids, starts_B, steps, starts=True), self.network.output_bias.device
        return batch._replace(inputs_TB=batch.inputs_TB.to(device), targets_TB=batch.targets_TB.to(device))


class Monitor(Callback):
    """Measures a copy of the network after every validation, or only after the last step if `when` is `end`.

    Subclasses implement `measure`. Plots cost more than values, so they are drawn only at the validations 1, 4, 16, 64
    and so on, and at the end. Without a validation split, the training split is read instead, every
    `trainer.val_check_interval` steps. A monitor uses no random generator of the run, so it does not change training.
    """

    def __init__(self, when: str) -> None:
        self._when = require_choice("when", when, WHEN)
        self._measured_step = self._drawn_step = -1
        self._plots: Plots = {}

    def measure(self, snapshot: Snapshot) -> tuple[Values, Plots]:
        """Return values and plots by TensorBoard tag: scalars, texts, tensors for histograms; functions that draw."""
        raise NotImplementedError

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        _warn_without_matplotlib()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._measure_and_draw(trainer, pl_module)

    def follow_steps(self) -> None:
        """Measure by steps, in a run without validations; others are spared the call at each step."""
        self.on_train_batch_start = self._measure_before_step  # type: ignore[assignment]  # an empty hook of the base class

    def _measure_before_step(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        # After the checkpoint of this step, like a validation: a run resumed from it then measures this step again.
        step = trainer.global_step
        if step and step % int(trainer.val_check_interval) == 0:
            self._measure_and_draw(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._measure(trainer, pl_module)
        self._draw(trainer)

    def _measure_and_draw(self, trainer: lightning.Trainer, module: Any) -> None:
        if self._when == "end":
            return
        self._measure(trainer, module)
        validation, rest = divmod(trainer.global_step, int(trainer.val_check_interval))  # the interval is in steps
        is_power_of_4 = validation.bit_count() == 1 and validation.bit_length() % 2 == 1
        if not rest and is_power_of_4:
            self._draw(trainer)

    def _measure(self, trainer: lightning.Trainer, module: Any) -> None:
        if self._measured_step == trainer.global_step:
            return
        with torch.inference_mode(False):  # validation runs in inference mode, which allows no gradients
            snapshot = _snapshot(trainer, module)
            if not all(weight.isfinite().all() for weight in snapshot.network.parameters()):
                return  # `Recovery` handles diverged weights
            values, self._plots = self.measure(snapshot)
        scalars = {tag: value for tag, value in values.items() if isinstance(value, float) and isfinite(value)}
        if self._when == "end":  # a curve would be a single point
            scalars = {f"{RESULT}{tag.replace('/', '_')}": value for tag, value in scalars.items()}
        module.write_metrics(scalars)
        for logger in run_loggers(trainer):
            for tag, value in values.items():
                if isinstance(value, str):
                    logger.add_text(tag, value, snapshot.step)
                elif isinstance(value, Tensor):
                    logger.add_histogram(tag, value, snapshot.step)
        self._measured_step = snapshot.step

    def _draw(self, trainer: lightning.Trainer) -> None:
        step = trainer.global_step
        if self._drawn_step == step or self._measured_step != step or not figure.available():
            return
        for logger in run_loggers(trainer):
            for tag, draw in self._plots.items():
                logger.add_plot(tag, draw(), step)
        self._drawn_step = step


def _snapshot(trainer: lightning.Trainer, module: Any) -> Snapshot:
    network: CharRNN = copy.deepcopy(module.network)
    network.to(torch.promote_types(network.output_bias.dtype, torch.float32)).eval().requires_grad_(False)
    network.cells.train()  # cuDNN backpropagates through a GRU or LSTM only in training mode; cells have no dropout
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    ids = data.validation_ids if len(data.validation_ids) > 1 else data.train_ids
    return Snapshot(network, module.vocabulary, ids, data.sequence_length, trainer.global_step)


def layer_suffixes(layers: int) -> list[str]:
    """Return the ends of the tags of each layer's values: `/layer0`, or nothing if there is only one layer."""
    return [f"/layer{layer}" if layers > 1 else "" for layer in range(layers)]


@cache  # warns once, however many monitors there are
def _warn_without_matplotlib() -> None:
    if not figure.available():
        log.warning(figure.advice("no plots in TensorBoard (scalars are logged)"))
