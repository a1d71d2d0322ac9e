"""How training ends before its time: because a signal asks it to, or because a search finds it not worth the rest."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn

from charrnn.checkpoints import Checkpoints
from charrnn.errors import Stopped

Judge = Callable[[int, float], None]


class StopOnSignal(Callback):
    """Ctrl-C and SIGTERM let the step end and the run be saved, then raise `Stopped`. A second Ctrl-C stops at once."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._received: int | None = None
        self.agreed = 0

    def wish(self) -> int:
        """To stop, because of this signal."""
        return self._received or 0

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
        if self.agreed and pl_module.made_a_step():
            self._checkpoints.save(trainer)
            raise Stopped(self.agreed)

    def on_validation_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, loader: int = 0
    ) -> None:
        if self._received is not None and trainer.world_size == 1:  # saved before the validation; a resume repeats it
            raise Stopped(self._received)


class AskJudge(Callback):
    """After each validation but the last calls `judge` with the step and the bits per character; it may raise `Pruned`.

    After the last one all steps are made, and nothing could be saved any more. The run was saved before the validation,
    so it may go on, and is judged again at that step first.
    """

    def __init__(self, judge: Judge, steps: int) -> None:
        self._judge = judge
        self._steps = steps

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.FITTING and trainer.global_step < self._steps:
            self._judge(trainer.global_step, pl_module.latest["bits_per_char/val"])
