"""How training ends before its time: because a signal asks it to, or because a search finds it not worth the rest."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn

from charrnn.training.distributed.consensus import RunState
from charrnn.utils.errors import Stopped
from charrnn.utils.signals import STOPPING, is_passed_by

OnValidation = Callable[[int, float], None]


class StopOnSignal(Callback):
    """The STOPPING signals let the step end and the run be saved, then raise `Stopped`.

    A second Ctrl-C stops at once. After a signal that is passed by the run is saved and continues. A rank that was
    started by Lightning does not listen: rank 0 hears Ctrl-C too, and decides.
    """

    def __init__(self, state: RunState, *, listens: bool = True) -> None:
        self._state = state
        self._listens = listens
        self._passed_by = {signum for signum in STOPPING if is_passed_by(signum)}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        # Here and not earlier: Lightning puts its own handlers in place first, and takes all away after the fit.
        if threading.current_thread() is threading.main_thread():
            for signum in STOPPING:
                signal.signal(signum, self._receive if self._listens else signal.SIG_IGN)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self._state.stop_requested == signal.SIGINT:
            raise Stopped(signum)
        if signum in self._passed_by:
            self._state.save_requested = True
        else:
            self._state.stop_requested = signum

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if self._state.stop_now and pl_module.step_completed():  # `Checkpoints`, which comes before, has saved it
            raise Stopped(self._state.stop_now)

    def on_validation_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.world_size == 1:  # others would wait for this one
            self.stop_if_asked()  # saved before the validation, which a resume repeats

    def stop_if_asked(self) -> None:
        """Raise `Stopped` if a signal has come; after the fit, for one that came after its last step."""
        if self._state.stop_requested:
            raise Stopped(self._state.stop_requested)


class PruningCallback(Callback):
    """Calls `on_validation` with the step and the bits per character after each validation but the last.

    It ends the run by raising `Pruned`.

    The run was saved before the validation, so that it can be resumed, and is then judged again at that step first.
    """

    def __init__(self, on_validation: OnValidation, steps: int) -> None:
        self._on_validation = on_validation
        self._steps = steps

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.FITTING and trainer.global_step < self._steps:
            self._on_validation(trainer.global_step, pl_module.metric_log.latest["bits_per_char/val"])
