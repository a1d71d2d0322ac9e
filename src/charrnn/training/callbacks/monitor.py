"""The callback that looks inside the network while it trains; what there is to see, its subclasses say.

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

from charrnn.data.batches import Batch, read_sequences
from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.network import CharRNN
from charrnn.utils.validation import require_choice
from charrnn.visualization import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

WHEN = ("validation", "end")

Values = dict[str, float | str]
Plots = dict[str, Callable[[], "Figure"]]


class Subject(NamedTuple):
    """What is looked at: a copy of the network as it is after `step`, and a text for it to read.

    `chunk` is the number of time steps that errors go back in training.
    """

    network: CharRNN
    vocabulary: AnyVocabulary
    ids: Ids
    chunk: int
    step: int

    def lanes(self, lanes: int, steps: int) -> Batch:
        """So many characters (fewer if the text is shorter) from places spread evenly over the text."""
        steps = min(steps, len(self.ids) - 1)
        starts_B = np.linspace(0, len(self.ids) - 1 - steps, lanes).astype(np.int64)
        batch, device = read_sequences(self.ids, starts_B, steps, starts=True), self.network.output_bias.device
        return batch._replace(inputs_TB=batch.inputs_TB.to(device), targets_TB=batch.targets_TB.to(device))


class Monitor(Callback):
    """Looks at a copy of the network after every validation, or with `when` = `end` after the last step alone.

    A subclass says what to see, in `look`. Plots cost more than values, so they are drawn with the validations 1, 4,
    16, 64 and so on, and at the end. Without a validation split the training split is read instead, every
    `trainer.val_check_interval` steps. Nothing is drawn from the run's generators: a run is the same with it and
    without.
    """

    def __init__(self, when: str) -> None:
        self._when = require_choice("when", when, WHEN)
        self._looked = self._drawn = -1  # at which step
        self._plots: Plots = {}

    def look(self, subject: Subject) -> tuple[Values, Plots]:
        """Return values (floats) and texts, and functions that draw the plots, each by their tags."""
        raise NotImplementedError

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        _warn_without_matplotlib()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._watch(trainer, pl_module)

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        # Like a validation after the checkpoint of the same step, so that a resume from it repeats what is written.
        step = trainer.global_step
        if not trainer.limit_val_batches and step and step % int(trainer.val_check_interval) == 0:
            self._watch(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._look(trainer, pl_module)
        self._draw(trainer)

    def _watch(self, trainer: lightning.Trainer, module: Any) -> None:
        if self._when == "end":
            return
        self._look(trainer, module)
        validation, rest = divmod(trainer.global_step, int(trainer.val_check_interval))  # the run counts it in steps
        if not rest and validation.bit_count() == 1 and validation.bit_length() % 2 == 1:  # a power of 4
            self._draw(trainer)

    def _look(self, trainer: lightning.Trainer, module: Any) -> None:
        if self._looked == trainer.global_step:
            return
        with torch.inference_mode(False):  # of a validation; nothing can be differentiated in it
            subject = _subject(trainer, module)
            if not all(weight.isfinite().all() for weight in subject.network.parameters()):
                return  # `Recovery` deals with that
            values, self._plots = self.look(subject)
        texts = {tag: value for tag, value in values.items() if isinstance(value, str)}
        numbers = {tag: value for tag, value in values.items() if isinstance(value, float) and isfinite(value)}
        module.write_metrics(numbers)
        logger: Any = trainer.logger
        for tag, text in texts.items() if hasattr(logger, "add_text") else ():  # as the run's own logger has it
            logger.add_text(tag, text, subject.step)
        self._looked = subject.step

    def _draw(self, trainer: lightning.Trainer) -> None:
        step = trainer.global_step
        if self._drawn == step or self._looked != step or not figure.available():
            return
        logger: Any = trainer.logger
        if hasattr(logger, "add_plot"):
            for tag, draw in self._plots.items():
                logger.add_plot(tag, draw(), step)
        self._drawn = step


def _subject(trainer: lightning.Trainer, module: Any) -> Subject:
    network: CharRNN = copy.deepcopy(module.network)
    network.to(torch.promote_types(network.output_bias.dtype, torch.float32)).eval().requires_grad_(False)
    network.cells.train()  # cuDNN goes back through a GRU or LSTM in this mode only; there is no dropout in a cell
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    ids = data.validation_ids if len(data.validation_ids) > 1 else data.train_ids
    return Subject(network, module.vocabulary, ids, data.sequence_length, trainer.global_step)


@cache  # once, whatever is watched
def _warn_without_matplotlib() -> None:
    if not figure.available():
        log.warning(figure.advice("no plots in TensorBoard (scalars are logged)"))
