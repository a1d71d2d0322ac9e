"""What the callbacks of a run tell each other, and how all ranks save and stop after the same step."""

import math
import time
from dataclasses import dataclass
from typing import Any

import lightning
from lightning.pytorch import Callback

from charrnn.utils.errors import RunFailed
from charrnn.utils.process_state import gather

CONSENSUS_EVERY = 10  # steps: seldom enough to cost nothing, soon enough for a time limit


@dataclass
class RunState:
    """Requests to save or to stop, as they come in on this rank, and what all ranks do after the step just made.

    `save_requested` comes from a signal and `save_due_at` from the clock (`time.monotonic`); `stop_requested` is the
    signal that asks the run to stop, 0 for none. `saving_suspended`: the weights are in doubt. `saved_step` is the step
    of last.ckpt.
    """

    save_requested: bool = False
    save_due_at: float = math.inf
    stop_requested: int = 0
    save_now: bool = False
    stop_now: int = 0
    saving_suspended: bool = False
    saved_step: int | None = None

    def requests(self) -> tuple[bool, int]:
        """Return whether to save and which signal to stop for, on this rank."""
        return self.save_requested or time.monotonic() >= self.save_due_at, self.stop_requested


class Consensus(Callback):
    """Turns the requests of each rank into one decision, ahead of the callbacks that act on it.

    A single process acts after every step; several ask each other every CONSENSUS_EVERY steps whether anyone has one.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Raise `RunFailed` if the ranks are about to train on different texts, or from different steps."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        first, *others = gather({"text": data.corpus.sha256, "step": trainer.global_step})
        for rank, other in enumerate(others, 1):
            if other != first:
                raise RunFailed(f"process {rank} has {other}, process 0 {first}; see that all read the same files")

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if not pl_module.step_completed():
            return
        state, own = self._state, self._state.requests()
        state.save_now, state.stop_now = own if trainer.world_size == 1 else (False, 0)
        if trainer.world_size == 1 or trainer.global_step % CONSENSUS_EVERY:
            return
        if trainer.strategy.reduce_boolean_decision(any(own), all=False):
            saves, stops = zip(*gather(own), strict=True)
            state.save_now, state.stop_now = any(saves), max(stops)
