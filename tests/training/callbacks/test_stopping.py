import os
import signal
from pathlib import Path
from typing import Any, NoReturn

import pytest

from charrnn import experiment
from charrnn.runs import checkpoint_file
from charrnn.runs.checkpoint_file import read
from charrnn.runs.folder import read_summary
from charrnn.training import preparation
from charrnn.training.callbacks import progress, throughput
from charrnn.training.callbacks.checkpoint import Checkpoints
from charrnn.training.distributed import consensus
from charrnn.utils.errors import Stopped
from charrnn.utils.signals import STOP_SIGNALS
from conftest import composed, train_here

TEXT_LENGTH = 1000
SMALL = (
    "data=text", "model.hidden=6", "data.batch_size=3", "data.sequence_length=7", "trainer.accelerator=cpu",
    "trainer.max_steps=30", "threads=1", "data.validation_fraction=0.1", "trainer.val_check_interval=12",
)  # fmt: skip


@pytest.fixture(scope="module")
def weights(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the final weights of a run that is not stopped."""
    folder = tmp_path_factory.mktemp("whole")
    train_here(folder, *SMALL, path=text)
    return read(folder / "checkpoints" / "last.ckpt")["state_dict"]


def signal_at(owner: Any, hook: str, step: int, signum: int, patch: pytest.MonkeyPatch) -> None:
    """Send the signal once, when this hook is called after this step."""
    original, sent = getattr(owner, hook), []

    def sending(self: Any, *arguments: Any, **named: Any) -> Any:
        if not sent and (owner is experiment or arguments[0].global_step >= step):
            sent.append(True)
            patch.undo()
            os.kill(os.getpid(), signum)
        return original(self, *arguments, **named)

    patch.setattr(owner, hook, sending)


def assert_weights(run: Path, weights: Any) -> None:
    assert read_summary(run)["status"] == "finished"
    last = read(run / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(last[key].equal(weights[key]) for key in weights)


@pytest.mark.parametrize(
    ("owner", "hook", "step", "signum", "saved"),
    [
        (consensus.Consensus, "on_train_batch_end", 5, signal.SIGINT, 5),
        (consensus.Consensus, "on_train_batch_end", 5, signal.SIGTERM, 5),
        (consensus.Consensus, "on_train_batch_end", 5, signal.SIGUSR1, 5),
        (consensus.Consensus, "on_train_batch_end", 5, signal.SIGUSR2, 5),
        (throughput.Throughput, "on_validation_start", 12, signal.SIGUSR2, 12),
        (progress.Progress, "on_train_end", 30, signal.SIGUSR2, 30),  # the fit loop does not check for signals here
        (experiment, "score", 30, signal.SIGUSR2, 30),
    ],
)
def test_a_signal_saves_and_stops_the_run(
    text: Path, tmp_path: Path, weights: Any, owner: Any, hook: str, step: int, signum: int, saved: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped) as stop:
        signal_at(owner, hook, step, signum, patch)
        train_here(tmp_path, *SMALL, path=text)
    assert stop.value.exit_code == 128 + signum
    summary = read_summary(tmp_path)
    assert (summary["status"], summary["reason"]) == ("interrupted", signal.Signals(signum).name)
    assert read(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == summary["steps"] == saved
    train_here(tmp_path, *SMALL, "resume_from=last", path=text)
    assert_weights(tmp_path, weights)


def test_the_signal_handlers_are_restored(text: Path, tmp_path: Path) -> None:
    before = [signal.getsignal(signum) for signum in STOP_SIGNALS]
    train_here(tmp_path, *SMALL, "trainer.max_steps=3", path=text)
    assert [signal.getsignal(signum) for signum in STOP_SIGNALS] == before


@pytest.mark.parametrize(
    ("owner", "hook", "step"),
    [
        (consensus.Consensus, "on_train_batch_end", 5),
        (throughput.Throughput, "on_validation_start", 12),
        (experiment, "score", 30),
    ],
)
def test_a_sigterm_that_submitit_handles_saves_but_does_not_stop(
    text: Path, tmp_path: Path, weights: Any, owner: Any, hook: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a submitit job under Slurm, which has its own handler and continues."""
    steps = []
    save = Checkpoints.save
    monkeypatch.setattr(
        Checkpoints, "save", lambda self, trainer: (steps.append(trainer.global_step), save(self, trainer))
    )
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.MonkeyPatch.context() as patch:
            signal_at(owner, hook, step, signal.SIGTERM, patch)
            train_here(tmp_path, *SMALL, path=text)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ({5, 13} & set(steps)) == ({5} if step == 5 else {13} if step == 12 else set())
    assert_weights(tmp_path, weights)


def test_a_stop_before_the_first_step_reports_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*arguments: object, **options: object) -> NoReturn:
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr(preparation, "prepare_process", stopped)
    earlier = {"state_dict": {}, "global_step": 7, "charrnn": {"format": checkpoint_file.FORMAT, "run": {}}}
    checkpoint_file.write(earlier, tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(Stopped):
        experiment.run(composed("resume_from=last"), tmp_path)
    summary = read_summary(tmp_path)
    assert (summary["status"], summary["reason"], summary["checkpoint"]) == ("interrupted", "SIGTERM", None)
