"""Callbacks that show progress during training: curves, a progress bar, and a line after each validation."""

import logging
import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from itertools import accumulate
from typing import Any
from unicodedata import east_asian_width

import lightning
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn
from tqdm import tqdm

from charrnn.utils.screen import ScreenHandler
from charrnn.utils.streams import is_terminal

log = logging.getLogger(__name__)

BAR = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"
BAR_WIDTH = 79  # fits a terminal of 80 columns
MAX_LINES = 20  # a screen full
HEADING = "\nbits per character and the beginning of a sample, after each validation:"
SAMPLE_WIDTH = 40  # columns; the line then fits a terminal of 80
UNPRINTABLE = "\N{MIDDLE DOT}"


class Curves(Callback):
    """Logs the training metrics. It runs before `Checkpoints`, whose file records which metrics were logged."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        pl_module.metric_log.rewrite(trainer.global_step, pl_module.loggers)

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if not pl_module.should_log() or not len(pl_module.training_metrics):  # a recovery has just cleared them
            return
        metrics = pl_module.shared_metrics()
        nats = metrics.mean() * pl_module.symbols_per_character["train"]
        norm = metrics.gradient_norm()
        metrics.clear()
        pl_module.write_metrics(
            {
                "nats_per_char/train": nats,
                "bits_per_char/train": nats / math.log(2),
                "optimizer/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
                "optimizer/gradient_norm": norm,
            }
        )


class Progress(Callback):
    """Shows a progress bar on a terminal, and writes a line after a validation: the losses and a piece of a sample.

    The lines appear above the bar. A run with more than MAX_LINES validations writes one only after the first, every
    second of them, or every third, and so on, and the last. `sample` returns the text sampled after the validation.
    """

    def __init__(self, steps: int, write_line: Callable[[str], None], sample: Callable[[], str]) -> None:
        self._steps = steps
        self._write_line, self._sample = write_line, sample
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.limit_val_batches:
            self._write_line(HEADING)
        if is_terminal(sys.stderr):
            self._bar = tqdm(
                total=self._steps, initial=trainer.global_step, bar_format=BAR, ncols=BAR_WIDTH, leave=False
            )
            ScreenHandler.write_mode = tqdm.external_write_mode

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if self._bar is not None and pl_module.should_log():
            self._show_losses(pl_module)
            self._bar.update(trainer.global_step - self._bar.n)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if self._bar is not None and trainer.state.fn == TrainerFn.FITTING:
            self._bar.set_postfix_str("validation")

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        step, interval = trainer.global_step, int(trainer.val_check_interval)  # both in optimizer steps
        every = interval * math.ceil(self._steps / interval / MAX_LINES)
        is_first, is_last = step == interval, step >= self._steps or trainer.should_stop
        if trainer.state.fn == TrainerFn.FITTING and (is_first or is_last or step % every == 0):
            number = f"{step:,}".rjust(len(f"{self._steps:,}"))
            self._write_line(f"{number}  {_metrics(pl_module.metric_log.latest, '  ')} | {_piece(self._sample())}")
        if self._bar is not None:
            self._show_losses(pl_module)

    def _show_losses(self, pl_module: Any) -> None:
        assert self._bar is not None
        self._bar.set_postfix_str(f"{_metrics(pl_module.metric_log.latest, ', ')} bits/char", refresh=False)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)
        self._close()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            ScreenHandler.write_mode = nullcontext


def _metrics(latest: dict[str, float], separator: str) -> str:
    tags = {"train": "bits_per_char/train", "val": "bits_per_char/val"}
    return separator.join(f"{split} {latest[tag]:.3f}" for split, tag in tags.items() if tag in latest)


def _piece(text: str) -> str:
    """Return the beginning of a text on one line, of at most SAMPLE_WIDTH columns on a terminal."""
    spaced = " ".join(text.split())
    shown = "".join(character if character.isprintable() else UNPRINTABLE for character in spaced[:SAMPLE_WIDTH])
    wide = accumulate(2 if east_asian_width(character) in "WF" else 1 for character in shown)
    return shown[: sum(columns <= SAMPLE_WIDTH for columns in wide)].rstrip()
