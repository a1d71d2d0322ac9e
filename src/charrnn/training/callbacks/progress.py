"""Callbacks that show progress during training: curves and a progress bar."""

import logging
import math
import sys
from collections.abc import Callable
from typing import Any

import lightning
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn
from tqdm import tqdm

from charrnn.utils.streams import is_terminal

log = logging.getLogger(__name__)

BAR = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"
BAR_WIDTH = 79  # fits a terminal of 80 columns


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
    """Shows one progress bar for the whole run on a terminal; elsewhere, writes a line after each validation."""

    def __init__(self, steps: int, write_line: Callable[[str], None]) -> None:
        self._steps = steps
        self._write_line = write_line
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if is_terminal(sys.stderr):
            self._bar = tqdm(
                total=self._steps, initial=trainer.global_step, bar_format=BAR, ncols=BAR_WIDTH, leave=False
            )

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if self._bar is not None and pl_module.should_log():
            self._bar.set_postfix_str(f"{_metrics(pl_module.metric_log.latest)} bits/char", refresh=False)
            self._bar.update(trainer.global_step - self._bar.n)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if self._bar is None and trainer.state.fn == TrainerFn.FITTING:
            latest = pl_module.metric_log.latest
            speed = latest.get("speed/chars_per_second")
            line = f"step {trainer.global_step:,} of {self._steps:,}: {_metrics(latest)} bits per character"
            self._write_line(line + (f", {speed:,.0f} characters/s" if speed else ""))

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


def _metrics(latest: dict[str, float]) -> str:
    tags = {"train": "bits_per_char/train", "validation": "bits_per_char/val"}
    return ", ".join(f"{split} {latest[tag]:.3f}" for split, tag in tags.items() if tag in latest)
