"""How training ends: after its last step, or because a signal asks it to."""

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch import Callback

from charrnn.errors import Stopped


class LastStep(Callback):
    """After the run's last step: `last.ckpt` is written, and the final weights are validated and compete for best.

    Lightning does neither when `max_steps` ends inside an epoch. It must happen within the fit: afterwards a
    checkpoint no longer holds the place in the text.
    """

    def __init__(self, steps: int, checkpoint: Path) -> None:
        self._steps = steps
        self._checkpoint = checkpoint

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= self._steps:
            trainer.save_checkpoint(self._checkpoint)
            trainer.val_check_batch = 1  # validate after every batch from here on, so after this one


class StopOnSignal(Callback):
    """Ctrl-C and SIGTERM let the step end and the run be saved, then raise `Stopped`. A second Ctrl-C stops at once."""

    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
        self._received: int | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        # Here and not earlier: Lightning puts its own handlers in place first, and takes all away after the fit.
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, self._receive)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self._received == signal.SIGINT:
            raise Stopped(signum)
        self._received = signum

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self._stop_if_asked(trainer)

    def _stop_if_asked(self, trainer: lightning.Trainer) -> None:
        if self._received is not None:
            trainer.save_checkpoint(self._checkpoint)
            raise Stopped(self._received)
