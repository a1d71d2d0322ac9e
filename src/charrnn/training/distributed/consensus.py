"""Shared state of a run's callbacks, and the agreement of all ranks to save or stop after the same step."""

from typing import Any

import lightning
from lightning.pytorch import Callback

from charrnn.training.run_state import RunState
from charrnn.utils.errors import RunFailed
from charrnn.utils.process_state import gather

CONSENSUS_EVERY_STEPS = 10  # rare enough to cost nothing, often enough to save before a time limit


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
