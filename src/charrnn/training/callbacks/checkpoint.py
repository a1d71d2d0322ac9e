"""The callback that writes `last.ckpt`, `previous.ckpt` and `best.ckpt`.

`last.ckpt` is written between two steps: after the metrics of a step and before its validation. A resumed run repeats
the validation.
"""

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn

from charrnn.module import VALIDATION
from charrnn.runs import checkpoint_file
from charrnn.runs.folder import BEST, LAST, PREVIOUS
from charrnn.training.run_state import RunState
from charrnn.utils.errors import RequestError

log = logging.getLogger(__name__)

NEVER = sys.maxsize  # more batches than a run can have


class Checkpoints(Callback):
    """Writes `last.ckpt` every `every` steps, every `minutes`, before every validation and after step `steps`.

    With `keep_every` also at those steps. The one before is kept as `previous.ckpt`. `best.ckpt` has the lowest
    validation loss so far. The final weights are saved and validated too, whatever ends the training, and may become
    the best: Lightning omits this when `max_steps` ends inside an epoch. If a file can't be written, a warning is
    logged and the older file is kept. After an exception nothing is written, because it may have come in the middle of
    a step: the last scheduled checkpoint is at most `every` steps older.
    """

    def __init__(
        self,
        folder: Path,
        state: RunState,
        *,
        every: int,
        minutes: float,
        validate_every: int,
        steps: int,
        keep_every: int | None = None,
    ) -> None:
        self.folder = folder
        self._state = state
        self._intervals = (every, keep_every or every)
        self._seconds, self._steps = 60 * minutes, steps
        self._validate_every = validate_every
        self._best = math.inf
        self._validates = False  # whether a validation follows the last step
        self._validated_step = -1

    @property
    def best(self) -> Path:
        """The best checkpoint, or the last one of a run without a validation split."""
        best = self.folder / BEST
        return best if best.exists() else self.folder / LAST

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "validates": self._validates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._validates = float(state_dict["best"]), bool(state_dict["validates"])

    def due(self, trainer: lightning.Trainer) -> bool:
        """Return whether to save after this step, on schedule or by request (stopping not counted)."""
        return self.is_scheduled(trainer.global_step) or self._state.save_now

    def is_scheduled(self, step: int) -> bool:
        """Return whether the schedule of steps alone, without any request, saves at this step."""
        return any(step % interval == 0 for interval in self._intervals) or self._validation_follows(step)

    def is_over(self, trainer: lightning.Trainer) -> bool:
        """Return whether training ends with this step, on schedule or because a callback stops it."""
        return trainer.global_step >= self._steps or trainer.should_stop

    def _validation_follows(self, step: int) -> bool:
        return step % self._validate_every == 0 or step >= self._steps

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        for partial in self.folder.glob(".*.tmp"):  # left by a process that was killed while writing
            partial.unlink(missing_ok=True)
        self._state.save_due_at = time.monotonic() + self._seconds
        if trainer.global_step:
            self._state.saved_step = trainer.global_step
            self._best = trainer.strategy.broadcast(self._best_until(trainer.global_step))
            if self._validates and trainer.limit_val_batches:
                _validate(trainer)
        else:
            self.save(trainer)  # so that a recovery in the first steps has weights to return to
        trainer.val_check_batch = NEVER

    def _best_until(self, step: int) -> float:
        """Return the loss to beat: that of `best.ckpt`, unless it is missing or of a later step, to be repeated."""
        if not (self.folder / BEST).exists():
            return math.inf
        try:
            best = checkpoint_file.read(self.folder / BEST)
        except RequestError as error:
            log.warning("%s", error)
            return self._best
        later = best["global_step"] > step
        return self._best if later else float(best["callbacks"][self.state_key]["best"])

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        trainer.val_check_batch = NEVER  # else Lightning, which counts batches, could validate amid an accumulated step
        if not pl_module.step_completed():
            return
        self._validates = self._validation_follows(trainer.global_step) or trainer.should_stop
        if self.due(trainer) or self._state.stop_now or trainer.should_stop:
            self.save(trainer)
        if self._validates:
            trainer.val_check_batch = 1  # every batch: so Lightning validates after this one

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self._validated_step = trainer.global_step
        value = float(trainer.callback_metrics[VALIDATION])
        if value < self._best:
            before, self._best = self._best, value
            if not self._write(trainer, self.folder / BEST):
                self._best = before

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.save(trainer)  # a callback may have stopped the run after the hook above
        if trainer.limit_val_batches and self._validated_step != trainer.global_step:
            _validate(trainer)

    def save(self, trainer: lightning.Trainer) -> None:
        """Write `last.ckpt`, unless this step is saved already; the old file becomes `previous.ckpt`.

        Nothing is saved after a NaN or infinite loss or gradient.
        """
        module: Any = trainer.lightning_module
        suspended = self._state.saving_suspended and not self.is_over(trainer)
        if self._state.saved_step == trainer.global_step or suspended or module.nonfinite() is not None:
            return
        last = self.folder / LAST
        if self._write(trainer, last, keep=self.folder / PREVIOUS):
            self._state.saved_step = trainer.global_step
        self._state.save_due_at, self._state.save_requested = time.monotonic() + self._seconds, False

    def _write(self, trainer: lightning.Trainer, path: Path, keep: Path | None = None) -> bool:
        for logger in trainer.loggers:
            logger.save()  # the curves on disk must not be older than the checkpoint
        trainer.save_checkpoint(path, storage_options=keep)
        writer: Any = trainer.strategy.checkpoint_io
        trouble = trainer.strategy.broadcast(writer.problem)
        known = self._state.unsaved.pop(path.name, None)
        if trouble is not None:
            self._state.unsaved[path.name] = trouble
        if trouble is not None and known is None:
            log.warning("can't write %s (%s); the older file is kept and training continues", path, trouble)
        return trouble is None


def _validate(trainer: lightning.Trainer) -> None:
    """Validate within the fit, as after a step; Lightning skips this when it resumes from a checkpoint."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True


def readable_checkpoints(folder: Path, *, with_best: bool = False) -> list[tuple[Path, dict[str, Any]]]:
    """Return the run's checkpoints that can be read, newest first; log a warning for each broken file."""
    found = []
    for name in (LAST, PREVIOUS, BEST) if with_best else (LAST, PREVIOUS):
        path = folder / name
        if path.exists():
            try:
                found.append((path, checkpoint_file.read(path)))
            except RequestError as error:
                log.warning("%s", error)
    return found
