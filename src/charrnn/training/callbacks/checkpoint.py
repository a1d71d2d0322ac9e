"""Which checkpoints a run writes, and when: `last.ckpt`, the one before it, and `best.ckpt`.

`last.ckpt` is written between two steps, after the figures of a step and before its validation, which a resume repeats.
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
from charrnn.training.distributed.consensus import RunState
from charrnn.utils.errors import RequestError

log = logging.getLogger(__name__)

NEVER = sys.maxsize  # batches
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"


class Checkpoints(Callback):
    """Writes `last.ckpt` every `every` steps, every `minutes`, before every validation and after step `steps`.

    The one before stays as `previous.ckpt`. `best.ckpt` has the lowest validation loss so far. After step `steps` the
    final weights are validated too, and compete: Lightning does not when `max_steps` ends inside an epoch. A file that
    can't be written costs a warning; the older one stays. After an exception nothing is written, since it may have come
    in the middle of a step: the last regular checkpoint is at most `every` steps older.
    """

    def __init__(
        self, folder: Path, state: RunState, *, every: int, minutes: float, validate_every: int, steps: int
    ) -> None:
        self.folder = folder
        self._state = state
        self._every, self._seconds, self._steps = every, 60 * minutes, steps
        self._validate_every = validate_every
        self._best = math.inf
        self._validates = False  # whether a validation follows the step that is saved

    @property
    def best(self) -> Path:
        """The best checkpoint, or the last one of a run without a validation part."""
        best = self.folder / BEST
        return best if best.exists() else self.folder / LAST

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best, "validates": self._validates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best, self._validates = float(state_dict["best"]), bool(state_dict["validates"])

    def due(self, trainer: lightning.Trainer) -> bool:
        """Tell whether the weights after this step are saved, other than because the run stops here."""
        return self.regular(trainer.global_step) or self._state.save_now

    def regular(self, step: int) -> bool:
        """Whether the undisturbed run saves at this step too, and not only one that was stopped there."""
        return step % self._every == 0 or self._validation_follows(step)

    def _validation_follows(self, step: int) -> bool:
        return step % self._validate_every == 0 or step >= self._steps

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        for torn in self.folder.glob(".*.tmp"):  # of a process that was killed while it wrote
            torn.unlink(missing_ok=True)
        self._state.save_due_at = time.monotonic() + self._seconds
        if trainer.global_step:
            self._state.saved_step = trainer.global_step
            self._best = trainer.strategy.broadcast(self._best_until(trainer.global_step))
            if self._validates and trainer.limit_val_batches:
                _validate(trainer)
        else:
            self.save(trainer)  # what a recovery goes back to, until there is a better one
        trainer.val_check_batch = NEVER

    def _best_until(self, step: int) -> float:
        """The loss to beat: that of `best.ckpt`, unless it is of a later step, which will come again, or not there."""
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
        trainer.val_check_batch = NEVER  # Lightning counts batches; a validation within an accumulation is of no use
        if not pl_module.step_completed():
            return
        self._validates = self._validation_follows(trainer.global_step)
        if self.due(trainer) or self._state.stop_now:
            self.save(trainer)
        if self._validates:
            trainer.val_check_batch = 1  # after every batch, so after this one

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        value = float(trainer.callback_metrics[VALIDATION])
        if trainer.state.fn == TrainerFn.FITTING and value < self._best:
            self._best = value
            self._write(trainer, self.folder / BEST)

    def save(self, trainer: lightning.Trainer) -> None:
        """Write `last.ckpt`, unless it is that of this step already; what was there becomes `previous.ckpt`.

        Numbers that went wrong are not saved.
        """
        module: Any = trainer.lightning_module
        in_doubt = self._state.saving_suspended and trainer.global_step < self._steps  # the run's end is saved as it is
        if self._state.saved_step == trainer.global_step or in_doubt or module.nonfinite() is not None:
            return
        last = self.folder / LAST
        if self._write(trainer, last, keep=self.folder / PREVIOUS):
            self._state.saved_step = trainer.global_step
        self._state.save_due_at, self._state.save_requested = time.monotonic() + self._seconds, False

    def _write(self, trainer: lightning.Trainer, path: Path, keep: Path | None = None) -> bool:
        if trainer.logger is not None:
            trainer.logger.save()  # the curves on the disk reach at least as far as the checkpoint
        trainer.save_checkpoint(path, storage_options=keep)
        writer: Any = trainer.strategy.checkpoint_io
        trouble = trainer.strategy.broadcast(writer.trouble)
        if trouble is not None:
            log.warning("%s can't be written (%s); the older one stays and training goes on", path, trouble)
        return trouble is None


def _validate(trainer: lightning.Trainer) -> None:
    """Validate within the fit, as its loop does after a step; going on from a checkpoint it would leave that out."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True


def readable_checkpoints(folder: Path, *, with_best: bool = False) -> list[tuple[Path, dict[str, Any]]]:
    """The run's checkpoints, newest first, as far as they are there and whole; a warning for one that is not."""
    found = []
    for name in (LAST, PREVIOUS, BEST) if with_best else (LAST, PREVIOUS):
        path = folder / name
        if path.exists():
            try:
                found.append((path, checkpoint_file.read(path)))
            except RequestError as error:
                log.warning("%s", error)
    return found
