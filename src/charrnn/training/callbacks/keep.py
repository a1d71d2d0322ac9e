"""The callback that keeps more checkpoints than the last and the best: one every n steps, and the best k."""

import logging
import shutil
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn

from charrnn.module import VALIDATION
from charrnn.runs.folder import LAST
from charrnn.training.run_state import RunState
from charrnn.utils.files import atomic_write

log = logging.getLogger(__name__)


class Keep(Callback):
    """Keeps `last.ckpt` as `step_<step>.ckpt` every `every` steps, and after the `best` lowest validation losses.

    It runs after `Checkpoints`, which saves `last.ckpt` at these steps. A kept file is a hard link where the file
    system has them.
    """

    def __init__(self, folder: Path, state: RunState, *, every: int | None, best: int) -> None:
        self._folder, self._state = folder, state
        self._every, self._count = every, best
        self._best: list[tuple[float, int]] = []  # the lowest losses so far, with their steps

    def state_dict(self) -> dict[str, Any]:
        return {"best": [list(pair) for pair in self._best]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best = [(float(loss), int(step)) for loss, step in state_dict["best"]]

    def file(self, step: int) -> Path:
        return self._folder / f"step_{step:07d}.ckpt"

    def _is_due(self, step: int) -> bool:
        return self._every is not None and step % self._every == 0 and step > 0

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.step_completed() and self._is_due(trainer.global_step):
            self._keep(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if trainer.state.fn != TrainerFn.FITTING or self._count < 2 or self._state.saved_step != trainer.global_step:
            return
        loss, step = float(trainer.callback_metrics[VALIDATION]), trainer.global_step
        ranked = sorted({*self._best, (loss, step)} if loss == loss else self._best)
        self._best, dropped = ranked[: self._count], ranked[self._count :]
        if (loss, step) in self._best:
            self._keep(trainer)
        for _, old in dropped:
            if not self._is_due(old) and trainer.is_global_zero:
                self.file(old).unlink(missing_ok=True)

    def _keep(self, trainer: lightning.Trainer) -> None:
        if not trainer.is_global_zero or self._state.saved_step != trainer.global_step:
            return  # this step could not be saved, or was not worth saving: Checkpoints has said so
        kept = self.file(trainer.global_step)
        try:
            kept.unlink(missing_ok=True)  # of a run that repeats this step
            try:
                kept.hardlink_to(self._folder / LAST)
            except OSError:  # this file system has no hard links
                with (self._folder / LAST).open("rb") as last, atomic_write(kept) as copy:
                    shutil.copyfileobj(last, copy)
            self._state.unsaved.pop(kept.name, None)
        except OSError as error:
            kept.unlink(missing_ok=True)
            log.warning("can't keep %s (%s); training continues", kept, error.strerror)
            self._state.unsaved[kept.name] = error.strerror or str(error)
