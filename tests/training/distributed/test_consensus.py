import time
from types import SimpleNamespace
from typing import Any

import pytest

from charrnn.training.distributed import consensus
from charrnn.training.distributed.consensus import CONSENSUS_EVERY_STEPS, Consensus
from charrnn.training.run_state import RunState
from charrnn.utils.errors import RunFailed

MADE_A_STEP = SimpleNamespace(step_completed=lambda: True)


def trainer(step: int, ranks: int = 1, anyone: bool = False) -> Any:
    """Return a stub trainer after `step`; `anyone`: whether another rank has a request."""
    strategy = SimpleNamespace(reduce_boolean_decision=lambda own, **_: own or anyone)
    return SimpleNamespace(world_size=ranks, global_step=step, strategy=strategy)


def decision(state: RunState, trainer: Any) -> tuple[bool, int]:
    Consensus(state).on_train_batch_end(trainer, MADE_A_STEP, None, None, 0)
    return state.save_now, state.stop_now


def test_a_single_process_acts_after_every_step() -> None:
    state = RunState()
    assert decision(state, trainer(1)) == (False, 0)
    state.save_requested = True
    assert decision(state, trainer(2)) == (True, 0)
    state.save_requested, state.stop_requested = False, 15
    assert decision(state, trainer(3)) == (False, 15)
    assert decision(RunState(save_due_at=time.monotonic() - 1), trainer(1)) == (True, 0)
    assert decision(RunState(save_due_at=time.monotonic() + 60), trainer(1)) == (False, 0)


def test_several_ranks_act_together_every_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus, "gather", lambda own: [own, (True, 0), (False, 2)])
    asking = trainer(CONSENSUS_EVERY_STEPS, ranks=3, anyone=True)
    assert decision(RunState(), asking) == (True, 2)
    assert decision(RunState(stop_requested=15), asking) == (True, 15)
    assert decision(RunState(stop_requested=15), trainer(CONSENSUS_EVERY_STEPS + 1, ranks=3, anyone=True)) == (False, 0)
    assert decision(RunState(), trainer(CONSENSUS_EVERY_STEPS, ranks=3)) == (False, 0)
    before = RunState(save_now=True)  # after an earlier step
    assert decision(before, trainer(CONSENSUS_EVERY_STEPS + 1, ranks=3)) == (False, 0)


def test_ranks_that_train_on_different_texts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consensus, "gather", lambda own: [own, {**own, "text": "another"}])
    datamodule = SimpleNamespace(corpus=SimpleNamespace(sha256="mine"))
    trainer: Any = SimpleNamespace(datamodule=datamodule, global_step=7)
    with pytest.raises(
        RunFailed, match="process 1 has .*'another'.*, process 0 has .*'mine'.*; all must read the same"
    ):
        Consensus(RunState()).on_train_start(trainer, None)
