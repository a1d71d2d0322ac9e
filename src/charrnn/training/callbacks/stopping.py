"""Callbacks that end training early: on a signal, or because a search prunes the trial."""

import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.trainer.states import TrainerFn

from charrnn.training.run_state import RunState
from charrnn.utils.errors import Stopped
from charrnn.utils.signals import STOP_SIGNALS, is_left_to_submitit

OnValidation = Callable[[int, float], None]


class StopOnSignal(Callback):
    """Ends the run on a STOP_SIGNALS signal: the current step finishes and is saved, then `Stopped` is raised.

    A second Ctrl-C stops at once. A SIGTERM in a submitit job only saves. A rank that Lightning started
    ignores signals: Ctrl-C reaches rank 0 too, which decides for all.
    """

    def __init__(self, state: RunState, *, listens: bool = True) -> None:
        self._state = state
        self._listens = listens
        self._passed_by = {signum for signum in STOP_SIGNALS if is_left_to_submitit(signum)}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        # Not earlier: Lightning installs its own handlers first, and restores the original ones after the fit.
        if threading.current_thread() is threading.main_thread():
            for signum in STOP_SIGNALS:
                signal.signal(signum, self._receive if self._listens else signal.SIG_IGN)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self._state.stop_requested == signal.SIGINT:
            raise Stopped(signum)
        if signum in self._passed_by:
            self._state.save_requested = True
        else:
            self._state.stop_requested = signum

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if self._state.stop_now and pl_module.step_completed():  # `Checkpoints` runs earlier and has saved this step
            raise Stopped(self._state.stop_now)

    def on_validation_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.world_size == 1:  # other ranks would wait for this one forever
            self.stop_if_asked()  # the step is saved; a resumed run repeats the validation

    def stop_if_asked(self) -> None:
        """Raise `Stopped` if a signal asked for it; called after the fit too, for a signal after the last step."""
        if self._state.stop_requested:
            raise Stopped(self._state.stop_requested)


class TimeLimit(Timer):
    """Stops the run after `minutes` of training, over all its processes."""

    state_key = "max_minutes"  # a Timer of the config may run beside it

    def __init__(self, minutes: float) -> None:
        super().__init__(timedelta(minutes=minutes), verbose=False)

    def on_fit_start(self, *_: Any) -> None:
        """Do nothing: `Timer` would end a resumed run here, before the hooks that validate the final weights."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        self._check_time_remaining(trainer)


class PruningCallback(Callback):
    """Calls `on_validation(step, bits per character)` after each validation but the last.

    `on_validation` may raise `Pruned` to end the run. The run was saved before the validation. If it is resumed, it
    repeats the validation and calls `on_validation` for that step again.
    """

    def __init__(self, on_validation: OnValidation, steps: int) -> None:
        self._on_validation = on_validation
        self._steps = steps

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == TrainerFn.FITTING and trainer.global_step < self._steps:
            self._on_validation(trainer.global_step, pl_module.metric_log.latest["bits_per_char/val"])
