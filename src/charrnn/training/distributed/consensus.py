"""Shared state of a run's callbacks, and the agreement of all ranks to save or stop after the same step."""

import math
import time
from dataclasses import dataclass
from typing import Any

import lightning
from lightning.pytorch import Callback

from charrnn.utils.errors import RunFailed
from charrnn.utils.process_state import gather

CONSENSUS_EVERY_STEPS = 10  # rare enough to cost nothing, often enough to save before a time limit


@dataclass
class RunState:
    """Holds the requests of this rank to save or stop, and the decision of all ranks after the current step.

    `save_requested` is set by a signal, `save_due_at` is a time of `time.monotonic`. `stop_requested` is the signal
    that asks the run to stop, or 0. `save_now` and `stop_now` are the decision. `saving_suspended` is true while the
    loss is too high to save the weights. `saved_step` is the step of last.ckpt.
    """

    save_requested: bool = False
    save_due_at: float = math.inf
    stop_requested: int = 0
    save_now: bool = False
    stop_now: int = 0
    saving_suspended: bool = False
    saved_step: int | None = None

    def requests(self) -> tuple[bool, int]:
        """Return this rank's requests: whether to save, and the signal to stop for (0: none)."""
        return self.save_requested or time.monotonic() >= self.save_due_at, self.stop_requested


class Consensus(Callback):
    """Turns the requests of all ranks into one decision; it runs before the callbacks that act on it.

    A single process decides after every step. Several ranks decide every CONSENSUS_EVERY_STEPS steps.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Raise `RunFailed` if the ranks have different texts, or start from different steps."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        first, *others = gather({"text": data.corpus.sha256, "step": trainer.global_step})
        for rank, other in enumerate(others, 1):
            if other != first:
                raise RunFailed(f"process {rank} has {other}, process 0 has {first}; all must read the same files")

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if not pl_module.step_completed():
            return
        state, requests = self._state, self._state.requests()
        state.save_now, state.stop_now = requests if trainer.world_size == 1 else (False, 0)
        if trainer.world_size == 1 or trainer.global_step % CONSENSUS_EVERY_STEPS:
            return
        if trainer.strategy.reduce_boolean_decision(any(requests), all=False):
            saves, stops = zip(*gather(requests), strict=True)
            state.save_now, state.stop_now = any(saves), max(stops)
