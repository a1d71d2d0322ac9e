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

from charrnn import checkpoint_file, randomness
from charrnn.errors import RequestError, RunFailed
from charrnn.module import VALIDATION, CharRNNModule

log = logging.getLogger(__name__)

NEVER = sys.maxsize  # batches
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"


class Checkpoints(Callback):
    """Writes `last.ckpt` every `every` steps, every `minutes`, before every validation and after step `steps`.

    The one before stays as `previous.ckpt`. `best.ckpt` has the lowest validation loss so far. After step `steps` the
    final weights are validated too, and compete: Lightning does not when `max_steps` ends inside an epoch. A file that
    can't be written costs a warning; the older one stays.
    """

    def __init__(self, folder: Path, *, every: int, minutes: float, validate_every: int, steps: int) -> None:
        self.folder = folder
        self._every, self._seconds, self._steps = every, 60 * minutes, steps
        self._validate_every = validate_every
        self.suspended = False  # as long as the weights are in doubt
        self._best = math.inf
        self._validates = False  # whether a validation follows the step that is saved
        self._saved_at = time.monotonic()
        self.saved_step: int | None = None
        self._before_batch: dict[str, Any] = {}
        self._optimizer_is_at_work = False
        self.asked = False  # to save after this step, by a signal
        self.agreed = 0

    def wish(self) -> int:
        """To save now, because it was asked for, or after so many minutes."""
        return int(self.asked or time.monotonic() - self._saved_at >= self._seconds)

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
        """Whether the weights after this step are saved, so that they had better be good."""
        return self.regular(trainer.global_step) or bool(self.agreed)

    def regular(self, step: int) -> bool:
        """Whether the undisturbed run saves at this step too, and not only one that was stopped there."""
        return step % self._every == 0 or self._validation_follows(step)

    def _validation_follows(self, step: int) -> bool:
        return step % self._validate_every == 0 or step >= self._steps

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        for torn in self.folder.glob(".*.tmp"):  # of a process that was killed while it wrote
            torn.unlink(missing_ok=True)
        if trainer.global_step:
            self.saved_step = trainer.global_step
            self._best = trainer.strategy.broadcast(self._best_until(trainer.global_step))
            if self._validates and trainer.limit_val_batches:
                _validate(trainer)
        else:
            self.save(trainer)  # what a recovery goes back to, until there is a better one
        self._note_boundary(trainer, pl_module)
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
        return self._best if later else float(best["callbacks"][type(self).__qualname__]["best"])

    def on_before_optimizer_step(self, trainer: lightning.Trainer, pl_module: Any, optimizer: Any) -> None:
        self._optimizer_is_at_work = True

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._optimizer_is_at_work = False
        trainer.val_check_batch = NEVER  # Lightning counts batches; a validation within an accumulation is of no use
        if not pl_module.made_a_step():
            return
        self._note_boundary(trainer, pl_module)
        self._validates = self._validation_follows(trainer.global_step)
        if self.due(trainer):
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
        in_doubt = self.suspended and trainer.global_step < self._steps  # the run's end is saved as it is
        if self.saved_step == trainer.global_step or in_doubt or module.trouble() is not None:
            return
        last = self.folder / LAST
        if self._write(trainer, last, keep=self.folder / PREVIOUS):
            self.saved_step = trainer.global_step
        self._saved_at, self.asked = time.monotonic(), False

    def _write(self, trainer: lightning.Trainer, path: Path, keep: Path | None = None) -> bool:
        if trainer.logger is not None:
            trainer.logger.save()  # the curves on the disk reach at least as far as the checkpoint
        trainer.save_checkpoint(path, storage_options=keep)
        writer: Any = trainer.strategy.checkpoint_io
        trouble = trainer.strategy.broadcast(writer.trouble)
        if trouble is not None:
            log.warning("%s can't be written (%s); the older one stays and training goes on", path, trouble)
        return trouble is None

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Save the state after the last whole step, whatever the broken one had changed since."""
        if not isinstance(exception, Exception) or isinstance(exception, RunFailed | RequestError):
            return
        if trainer.state.fn != TrainerFn.FITTING or not self._before_batch or self._optimizer_is_at_work:
            return  # half of the weights may be those of the next step
        before = self._before_batch
        _loader(trainer).load_state_dict(before["loader"])
        pl_module.return_to(before["module"])
        randomness.restore_torch(before["random"])
        progress = trainer.fit_loop.epoch_loop.batch_progress
        counts: Any
        for counts, batches in zip((progress.total, progress.current), before["batches"], strict=True):
            if counts.ready < batches:  # the boundary was the end of the epoch before
                batches = 0
            counts.ready = counts.started = counts.processed = counts.completed = batches
        try:
            self.save(trainer)
        except Exception as error:  # the first error is the one to be told
            log.warning("last.ckpt could not be brought up to date: %s", error)

    def _note_boundary(self, trainer: lightning.Trainer, module: CharRNNModule) -> None:
        if trainer.world_size > 1:
            return  # when one fails the others may be anywhere, and can't be asked for their states
        progress: Any = trainer.fit_loop.epoch_loop.batch_progress
        self._before_batch = {
            "loader": _loader(trainer).state_dict(),
            "module": module.boundary(),
            "random": randomness.current_torch(),
            "batches": (progress.total.processed, progress.current.processed),
        }


def _validate(trainer: lightning.Trainer) -> None:
    """Validate within the fit, as its loop does after a step; going on from a checkpoint it would leave that out."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True


def _loader(trainer: lightning.Trainer) -> Any:
    return trainer.train_dataloader


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
