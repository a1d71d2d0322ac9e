"""How trials are chosen, counted, pruned and retried: with curves in place of training."""

import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import RequestError, RunFailed, Stopped

pytest.importorskip("optuna", reason="needs pip install -e '.[tune]'")
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from charrnn import study, tuning
from charrnn.study import Request, newest, open_study, retry_interrupted

SPACE: dict[str, Any] = {
    "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
    "model.hidden": IntDistribution(8, 64, step=8),
    "model.activation": CategoricalDistribution(["tanh", "relu"]),
}
START = {"optimizer.lr": 0.0012345, "model.hidden": 16, "model.activation": "tanh"}
SAMPLER = {"_target_": "optuna.samplers.TPESampler", "seed": 1, "n_startup_trials": 4}
MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2, "n_warmup_steps": 2}


class Killed(BaseException):
    """As SIGKILL: nobody handles it."""


class Runs:
    """Curves in place of training: they fall to a value of the settings' own, best with lr=0.01 and relu."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, tuple[str, ...]]] = []
        self.raised: dict[tuple[int, int], BaseException] = {}  # by the number of the run and the step

    def __call__(self, overrides: list[str], folder: Path, judge: Any) -> float:
        number = len(self.begun)
        self.begun.append((folder.name, tuple(overrides)))
        settings = dict(override.split("=") for override in overrides)
        best = 2 + abs(math.log10(float(settings["optimizer.lr"])) + 2) + (settings["model.activation"] == "tanh")
        for step in range(10, 60, 10):
            if (number, step) in self.raised:
                raise self.raised[number, step]
            judge(step, best + 3 / step)
        return best


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runs]:
    monkeypatch.setattr(study, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(study, "GRACE", timedelta(seconds=1))
    runs = Runs()
    monkeypatch.setattr(tuning, "_run", runs)
    return runs


def request(folder: Path, **changes: Any) -> Request:
    return replace(Request(folder, ("seed=2",), START, 9, 10, None, SPACE, SAMPLER, MEDIAN), **changes)


def work(wanted: Request) -> None:
    tuning.work(wanted, open_study(wanted))


def states(wanted: Request) -> list[str]:
    return [trial.state.name for trial in newest(open_study(wanted)).values()]


def test_the_first_trial_changes_nothing_and_the_poor_ones_are_pruned(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = request(tmp_path / "study", trials=12)
    work(wanted)
    assert [name for name, _ in runs.begun] == [f"trial_{number:03d}" for number in range(12)]
    assert runs.begun[0][1] == ("seed=2", "optimizer.lr=0.0012345", "model.hidden=16", "model.activation=tanh")
    assert {*states(wanted)} == {"COMPLETE", "PRUNED"}
    best = open_study(wanted).best_trial
    assert best.params["model.activation"] == "relu"
    assert 0.003 < best.params["optimizer.lr"] < 0.03
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trial_000  finished with 3.9085                lr=0.0012345 hidden=16 activation=tanh"
    pruned = next(line for line in lines if " pruned at step 20 with " in line)  # the second validation is the first
    curve = newest(open_study(wanted))[pruned.split()[0]].intermediate_values
    assert [*curve] == [1, 2]
    lr = next(own for own in runs.begun[1][1] if "lr=" in own).partition("=")[2]
    assert len(lr.replace("0.", "", 1).lstrip("0")) <= 3


def test_an_interrupted_trial_is_retried_in_its_folder_and_none_that_ended_is_repeated(
    runs: Runs, tmp_path: Path
) -> None:
    wanted = request(tmp_path / "study", trials=6)
    runs.raised = {(2, 20): Killed(), (3, 10): Stopped(2), (4, 10): Killed()}
    for raised in (Killed, Stopped, Killed):
        with pytest.raises(raised):
            work(wanted)
    work(wanted)
    names = [name for name, _ in runs.begun]
    assert sorted({*names}) == [f"trial_{number:03d}" for number in range(6)]
    assert len(names) == 6 + 3
    assert len({*runs.begun}) == 6  # with the same settings
    ended = newest(open_study(wanted))
    assert len(ended) == 6
    assert {trial.state.name for trial in ended.values()} <= {"COMPLETE", "PRUNED"}
    assert [*ended["trial_002"].intermediate_values][:2] == [1, 2]
    work(wanted)
    assert len(runs.begun) == 9
    work(replace(wanted, trials=7))
    assert runs.begun[-1][0] == "trial_006"


def test_a_trial_that_died_before_its_first_heartbeat_is_retried(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = request(tmp_path / "study", trials=1)
    runs.raised = {(0, 10): Stopped(2)}
    with pytest.raises(Stopped):
        work(wanted)
    found = open_study(wanted)
    retry_interrupted(found, wanted)
    with pytest.warns(UserWarning, match="Heartbeat"):
        found.ask()  # and nothing more
    work(wanted)
    assert states(wanted) == ["COMPLETE"]


def test_processes_side_by_side_share_the_trials(runs: Runs, tmp_path: Path) -> None:
    wanted = request(tmp_path / "study", trials=5)
    open_study(wanted)
    workers = [threading.Thread(target=work, args=(wanted,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(name for name, _ in runs.begun) == [f"trial_{number:03d}" for number in range(5)]
    assert len({settings for _, settings in runs.begun}) == 5


@pytest.mark.parametrize("target", ["optuna.samplers.TPESampler", "optuna.samplers.RandomSampler"])
def test_all_settings_of_a_grid_are_tried_once(runs: Runs, tmp_path: Path, target: str) -> None:
    rates, sizes = CategoricalDistribution([0.1, 0.2]), IntDistribution(1, 3)
    space = {"optimizer.lr": rates, "model.hidden": sizes, "model.activation": SPACE["model.activation"]}
    work(request(tmp_path / "study", space=space, trials=12, sampler={"_target_": target, "seed": 1}))
    assert len(runs.begun) == len({settings for _, settings in runs.begun}) == 12


def test_a_trial_that_fails_is_not_the_search(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = request(tmp_path / "study", trials=4)
    runs.raised = {(0, 20): RunFailed("exploded"), (1, 20): MemoryError(), (2, 20): RequestError("no\ntext")}
    work(wanted)
    assert states(wanted) == ["PRUNED", "FAIL", "FAIL", "COMPLETE"]  # the settings of the first are to blame
    told = capsys.readouterr().out
    assert [reason in told for reason in ("failed: exploded", "failed: MemoryError", "failed: no text")] == [True] * 3
    work(wanted)
    assert len(runs.begun) == 4


def test_a_result_that_is_nan_is_no_result(tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = request(tmp_path / "study", trials=1)
    monkeypatch.setattr(tuning, "_run", lambda *arguments: math.nan)
    work(wanted)
    assert states(wanted) == ["PRUNED"]


def test_what_a_study_refuses(runs: Runs, tmp_path: Path) -> None:
    one = request(tmp_path / "one")
    open_study(one)
    for changed, told in (
        (replace(one, overrides=("seed=3",)), r"was begun with the settings \['seed=2'\]; continue with the same"),
        (replace(one, space={"model.hidden": SPACE["model.hidden"]}), "was begun with the space"),
        (request(tmp_path), "holds no study and is not empty"),
        (replace(request(tmp_path), storage=f"sqlite:///{tmp_path}/other.db"), "holds no study and is not empty"),
        (request(tmp_path / "a?b"), "SQLite takes no ?"),
        (replace(one, storage="nonsense"), "the study can't be opened: Could not parse"),
        (replace(one, sampler={"_target_": "optuna.samplers.Nothing"}), "the study can't be opened: .*Nothing"),
        (replace(one, pruner=SAMPLER), "must be ones of Optuna"),
    ):
        with pytest.raises(RequestError, match=told) as refused:
            open_study(changed)
        assert "\n" not in str(refused.value)


def test_the_retries_of_settings_that_kill_their_process_have_an_end(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "RETRIES", 1)
    wanted = request(tmp_path / "study", trials=2)
    runs.raised = {(0, 10): Stopped(2), (1, 10): Stopped(2)}
    for _ in range(2):
        with pytest.raises(Stopped):
            work(wanted)
    work(wanted)
    assert states(wanted) == ["FAIL", "COMPLETE"]
