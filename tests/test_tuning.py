"""How trials are chosen, counted, pruned and retried: with curves in place of training, and with small networks."""

import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn import callbacks, checkpoint_file
from charrnn.errors import RequestError, RunFailed, Stopped
from charrnn.records import read_job
from charrnn.runs import read_summary
from conftest import ROOT, call, command, train_here

pytest.importorskip("optuna", reason="needs pip install -e '.[tune]'")
from hydra.utils import instantiate
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from charrnn import study, tuning
from charrnn.search_report import report
from charrnn.study import Request, make_request, open_study

SPACE: dict[str, Any] = {
    "optimizer.lr": FloatDistribution(1e-4, 1e-1, log=True),
    "model.hidden": IntDistribution(8, 64, step=8),
    "model.activation": CategoricalDistribution(["tanh", "relu"]),
}
START = {"optimizer.lr": 0.0012345, "model.hidden": 16, "model.activation": "tanh"}
SAMPLER = {"_target_": "optuna.samplers.TPESampler", "seed": 1, "n_startup_trials": 4}
MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 2, "n_warmup_steps": 2}
SMALL = (
    "data=text", "model.hidden=4", "data.batch_size=4", "data.sequence_length=8", "data.validation_fraction=0.1",
    "data.test_fraction=0", "trainer.accelerator=cpu", "trainer.max_steps=40", "trainer.val_check_interval=10",
    "checkpoint_every=5", "threads=1", "callbacks=none",
)  # fmt: skip
RATES = "{optimizer.lr: {low: 1e-4, high: 0.1, log: true}}"


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
        return math.nan if settings["model.hidden"] == "nan" else best


@pytest.fixture
def quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "HEARTBEAT", 1)
    monkeypatch.setattr(study, "GRACE", 1)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, quick_heartbeat: None) -> Runs:
    runs = Runs()
    monkeypatch.setattr(tuning, "_run", runs)
    return runs


def request(folder: Path, **changes: Any) -> Request:
    parts = {"sampler": instantiate(SAMPLER), "pruner": instantiate(MEDIAN)}
    return replace(Request(folder / "study", ("seed=2",), START, 9, 10, None, SPACE, parts), **changes)


def work(wanted: Request) -> None:
    tuning.work(wanted, open_study(wanted))


def ended(wanted: Request) -> list[str]:
    return [trial.state.name for trial in open_study(wanted).get_trials(states=tuning.ENDED)]


def test_the_first_trial_changes_nothing_and_the_poor_ones_are_pruned(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = request(tmp_path, trials=12)
    work(wanted)
    assert [name for name, _ in runs.begun] == [f"trial_{number:03d}" for number in range(12)]
    assert runs.begun[0][1] == ("seed=2", "optimizer.lr=0.0012345", "model.hidden=16", "model.activation=tanh")
    assert {*ended(wanted)} == {"COMPLETE", "PRUNED"}
    best = open_study(wanted).best_trial
    assert best.params["model.activation"] == "relu"
    assert 0.003 < best.params["optimizer.lr"] < 0.03
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trial_000  finished with 3.9085                lr=0.0012345 hidden=16 activation=tanh"
    pruned = next(line for line in lines if " pruned at step 20 with " in line)  # the second validation is the first
    assert [*open_study(wanted).trials[int(pruned[6:9])].intermediate_values] == [1, 2]
    lr = next(own for own in runs.begun[1][1] if "lr=" in own).partition("=")[2]
    assert len(lr.replace("0.", "", 1).lstrip("0")) <= 3


def test_an_interrupted_trial_is_retried_in_its_folder_and_none_that_ended_is_repeated(
    runs: Runs, tmp_path: Path
) -> None:
    wanted = request(tmp_path, trials=6)
    runs.raised = {(2, 20): Killed(), (3, 10): Stopped(2), (4, 10): Killed()}
    for raised in (Killed, Stopped, Killed):
        with pytest.raises(raised):
            work(wanted)
    work(wanted)
    names = [name for name, _ in runs.begun]
    assert (len(names), len({*names}), len({*runs.begun})) == (9, 6, 6)  # with the same settings
    assert len(ended(wanted)) == 6
    resumed = [trial for trial in open_study(wanted).trials if trial.system_attrs.get("failed_trial") == 2]
    assert [*resumed[-1].intermediate_values][:2] == [1, 2]
    work(wanted)
    assert len(runs.begun) == 9
    work(replace(wanted, trials=7))
    assert len({name for name, _ in runs.begun}) == 7


def test_a_trial_that_died_before_its_first_heartbeat_is_replaced(runs: Runs, tmp_path: Path) -> None:
    wanted = request(tmp_path, trials=2)
    work(replace(wanted, trials=1))
    with pytest.warns(UserWarning, match="Heartbeat"):
        open_study(wanted).ask()  # and nothing more
    work(wanted)
    assert len(ended(wanted)) == 2


def test_processes_side_by_side_share_the_trials(runs: Runs, tmp_path: Path) -> None:
    wanted = request(tmp_path, trials=5)
    open_study(wanted)
    workers = [threading.Thread(target=work, args=(request(tmp_path, trials=5),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(runs.begun) == len({*runs.begun}) == len({name for name, _ in runs.begun}) == 5


def test_all_settings_of_a_grid_are_tried_once(runs: Runs, tmp_path: Path) -> None:
    rates, sizes = CategoricalDistribution([0.1, 0.2]), IntDistribution(1, 3)
    work(request(tmp_path, space={**SPACE, "optimizer.lr": rates, "model.hidden": sizes}, trials=12))
    assert len(runs.begun) == len({settings for _, settings in runs.begun}) == 12


def test_a_trial_that_fails_is_not_the_search(runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = request(tmp_path, trials=4)
    runs.raised = {(0, 20): RunFailed("exploded"), (1, 20): MemoryError(), (2, 20): RequestError("no\ntext")}
    work(wanted)
    assert ended(wanted) == ["PRUNED"] * 3 + ["COMPLETE"]
    told = capsys.readouterr().out
    assert [reason in told for reason in ("failed: exploded", "failed: MemoryError", "failed: no text")] == [True] * 3
    assert open_study(wanted).trials[0].user_attrs["reason"] == "exploded"
    work(wanted)
    assert len(runs.begun) == 4


def test_a_result_that_is_nan_is_no_result(runs: Runs, tmp_path: Path) -> None:
    hidden = CategoricalDistribution(["nan", "inf"])
    wanted = request(
        tmp_path, trials=1, start={**START, "model.hidden": "nan"}, space={**SPACE, "model.hidden": hidden}
    )
    work(wanted)
    assert ended(wanted) == ["PRUNED"]


def test_the_retries_of_settings_that_kill_their_process_have_an_end(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "RETRIES", 1)
    wanted = request(tmp_path, trials=2)
    runs.raised = {(0, 10): Stopped(2), (1, 10): Stopped(2)}
    for _ in range(2):
        with pytest.raises(Stopped):
            work(wanted)
    work(wanted)
    assert sorted(ended(wanted)) == ["COMPLETE", "PRUNED"]


@pytest.fixture(scope="module")
def text(docs: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_text(docs[:1500])
    return file


def search_file(folder: Path, space: str, pruner: str) -> str:
    file = folder / "search.yaml"
    sampler = "{_target_: optuna.samplers.TPESampler, seed: 1, n_startup_trials: 3}"
    file.write_text(f"space: {space}\nsampler: {sampler}\npruner: {{_target_: optuna.pruners.{pruner}}}\n")
    return str(file)


def test_good_settings_are_found_and_poor_ones_end_early(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = "{optimizer.lr: [1e-6, 0.003], model.activation: [tanh, selu]}"
    search = search_file(tmp_path, space, "MedianPruner, n_startup_trials: 1, n_warmup_steps: 2")
    overrides = [*SMALL, f"data.path={text}", "optimizer.weight_decay=0.02"]
    wanted = make_request(tmp_path / "study", overrides, search, 9)
    assert wanted.trials == 4  # there are no more
    tuning.work(wanted, tuning.prepare(wanted))
    said = capsys.readouterr().out
    trials = [read_job(folder) for folder in sorted(wanted.folder.glob("trial_*"))]
    assert len(trials) == 4
    found = {(trial.settings["optimizer.lr"], trial.settings["model.activation"]): trial for trial in trials}
    assert found["0.003", "tanh"] is trials[0]  # as it is without a search
    assert trials[0].summary["status"] == "finished"
    for rate in ("0.003", "1e-06"):
        assert found[rate, "selu"].summary["status"] == "failed"
    assert "failed: model.activation must be one of tanh, relu; got 'selu'" in said
    *_, counts, progress, best, rerun = report(wanted.folder, list(wanted.space), 120).splitlines()
    assert counts == "trials    4: 1 finished, 1 pruned, 2 failed; 38 % of the steps of 4 whole runs"
    assert progress == f"progress  {trials[0].summary['val_bits_per_char']:.4f} after 1"
    assert best.startswith(f"best      {trials[0].folder}, ")
    assert rerun.startswith(f"rerun     python train.py {' '.join(SMALL)}")
    assert rerun.endswith("optimizer.weight_decay=0.02 optimizer.lr=0.003 model.activation=tanh")
    assert (wanted.folder / "leaderboard.csv").read_text().count(",pruned,") == 1

    pruned = found["1e-06", "tanh"]  # it is a run that may be continued
    assert pruned.summary["status"] == "pruned"
    assert pruned.summary["steps"] == 20
    assert pruned.summary["reason"].startswith("at step 20 with ")
    assert pruned.summary["val_bits_per_char"] is None
    assert checkpoint_file.read(Path(pruned.summary["checkpoint"]))["global_step"] == 20
    assert "step 20 of 40" in (pruned.folder / "train.log").read_text()
    overrides = [f"{key}={value}" for key, value in pruned.settings.items() if not key.startswith("data.path")]
    summary = train_here(pruned.folder, *overrides, "resume_from=last", path=text)
    assert (summary["status"], summary["steps"]) == ("finished", 40)


def test_an_interrupted_trial_resumes_from_its_own_checkpoint(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_heartbeat: None
) -> None:
    search = search_file(tmp_path, RATES, "NopPruner")
    wanted = make_request(tmp_path / "study", [*SMALL, f"data.path={text}"], search, 2)
    moments = [(0, 13), (1, 22)]  # trial, step
    original = callbacks.Progress.on_train_batch_end

    def disturbing(self: Any, trainer: Any, *arguments: Any) -> None:
        number = len(list(wanted.folder.glob("trial_*"))) - 1
        if moments and (number, trainer.global_step) >= moments[0]:
            moments.pop(0)
            if moments:
                raise Killed
            os.kill(os.getpid(), signal.SIGINT)
        original(self, trainer, *arguments)

    monkeypatch.setattr(callbacks.Progress, "on_train_batch_end", disturbing)
    for raised in (Killed, Stopped):
        with pytest.raises(raised):
            tuning.work(wanted, tuning.prepare(wanted))
    assert read_summary(wanted.folder / "trial_001")["status"] == "interrupted"
    tuning.work(wanted, tuning.prepare(wanted))
    for name, step in (("trial_000", "10"), ("trial_001", "2[2-4]")):
        assert read_summary(wanted.folder / name)["status"] == "finished"
        log = (wanted.folder / name / "train.log").read_text()
        assert re.search(f"resuming  after step {step}\n", log)
    done = open_study(wanted).get_trials(states=tuning.ENDED)
    assert [trial.state.name for trial in done] == ["COMPLETE"] * 2
    assert [[*trial.intermediate_values] for trial in done] == [[1, 2, 3]] * 2


def test_what_the_command_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    done = call("scripts/tune.py", "--trials", "0")
    assert (done.returncode, done.stderr) == (2, "tune.py: --trials must be a positive integer, got 0\n")
    monkeypatch.setitem(sys.modules, "optuna", None)
    done = call("scripts/tune.py")
    told = "tune.py: the search needs optuna, which is not installed: pip install -e '.[tune]'\n"
    assert (done.returncode, done.stderr) == (2, told)


def test_two_processes_are_stopped_together_and_continued_in_a_database_of_ones_own(text: Path, tmp_path: Path) -> None:
    search = search_file(tmp_path, RATES, "NopPruner")
    folder = tmp_path / "study"
    typed = [
        *SMALL, f"data.path={text}", "trainer.max_steps=400", "trainer.val_check_interval=200", "--search", search,
        "--folder", str(folder), "--trials", "3", "--storage", f"sqlite:///{tmp_path}/own.db", "--jobs", "2",
    ]  # fmt: skip
    search_process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "tune.py"), *typed], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while len(list(folder.glob("trial_*/checkpoints/last.ckpt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    search_process.send_signal(signal.SIGINT)
    said, _ = search_process.communicate(timeout=60)
    assert search_process.returncode == 130
    assert "2 interrupted or running" in said
    assert "continue  python scripts/tune.py data=text" in said
    assert {read_summary(trial)["status"] for trial in folder.glob("trial_*")} == {"interrupted"}
    again = command("scripts/tune.py", *typed)
    assert (again.returncode, again.stderr) == (0, "")
    assert len({*re.findall(r"(trial_\d+)  finished", again.stdout)}) == 3
    assert "trials    3: 3 finished; 100 % of the steps of 3 whole runs" in again.stdout
    assert "resuming  after step" in (folder / "trial_001" / "train.log").read_text()
    assert not (folder / "study.db").exists()
