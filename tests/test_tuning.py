"""Searches that train: small networks on a small text."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from charrnn import callbacks, checkpoint_file, tuning
from charrnn.errors import RequestError, Stopped
from charrnn.records import read_run
from charrnn.runs import read_summary
from charrnn.search_report import read_trials, report
from charrnn.trial import Request, Trial
from conftest import ROOT, command, train_here

optuna = pytest.importorskip("optuna", reason="needs pip install optuna")
SMALL = (
    "data=text", "model.hidden=4", "data.batch_size=4", "data.sequence_length=8", "data.validation_fraction=0.1",
    "data.test_fraction=0", "trainer.accelerator=cpu", "trainer.max_steps=40", "trainer.val_check_interval=10",
    "checkpoint_every=5", "threads=1", "callbacks=none",
)  # fmt: skip
MEDIAN = "{name: median, startup: 1, first: 2}"


class Killed(BaseException):
    """As SIGKILL: nobody handles it."""


@pytest.fixture(scope="module")
def text(docs: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_text(docs[:1500])
    return file


def search_file(folder: Path, space: str, pruner: str = MEDIAN) -> str:
    file = folder / "search.yaml"
    file.write_text(f"space: {space}\nsampler: {{name: tpe, seed: 1, startup: 3}}\npruner: {pruner}\n")
    return str(file)


def request(folder: Path, text: Path, search: str, trials: int, *overrides: str) -> Request:
    return tuning.make_request(folder, [*SMALL, f"data.path={text}", *overrides], search, trials)


def state(folder: Path) -> list[tuple[Any, ...]]:
    study = optuna.load_study(study_name="tune", storage=f"sqlite:///{folder / 'study.db'}")
    return [(t.number, t.state.name, t.params, t.value, t.intermediate_values) for t in study.trials]


def test_the_better_settings_are_found_and_the_poor_ones_end_early(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = search_file(tmp_path, "{optimizer.lr: [1e-6, 0.003], model.activation: [tanh, selu]}")
    wanted = request(tmp_path / "study", text, search, 9, "optimizer.weight_decay=0.02")
    tuning.prepare(wanted)
    assert tuning.work(wanted)
    said = capsys.readouterr().out
    trials = read_trials(wanted.folder)
    assert len(trials) == 4  # there are no more
    found = {(trial.settings["optimizer.lr"], trial.settings["model.activation"]): trial.summary for trial in trials}
    assert found["0.003", "tanh"] == trials[0].summary  # as it is without a search
    assert [found[key]["status"] for key in (("0.003", "tanh"), ("1e-06", "tanh"))] == ["finished", "pruned"]
    for rate in ("0.003", "1e-06"):
        assert found[rate, "selu"]["status"] == "failed"
    assert "failed: model.activation must be one of tanh, relu; got 'selu'" in said
    *_, counts, course, best, again = report(wanted.folder, list(wanted.search.space), 120).splitlines()
    assert counts == "trials    4: 1 finished, 1 pruned, 2 failed; 38 % of the steps of 4 whole runs"
    assert course == f"course    {trials[0].summary['val_bits_per_char']:.4f} after 1"
    assert best.startswith(f"best      {trials[0].folder}, ")
    assert again.startswith(f"again     python train.py {' '.join(SMALL)}")
    assert again.endswith("optimizer.weight_decay=0.02 optimizer.lr=0.003 model.activation=tanh")
    assert (wanted.folder / "leaderboard.csv").read_text().count(",pruned,") == 1


def test_a_pruned_trial_is_a_run_that_may_go_on(text: Path, tmp_path: Path) -> None:
    search = search_file(tmp_path, "{optimizer.lr: [0.003, 1e-6]}")
    wanted = request(tmp_path / "study", text, search, 2)
    tuning.prepare(wanted)
    tuning.work(wanted)
    _, pruned = read_trials(wanted.folder)
    assert pruned.summary["status"] == "pruned"
    assert pruned.summary["steps"] == 20
    assert pruned.summary["reason"].startswith("at step 20 with ")
    assert pruned.summary["val_bits_per_char"] is None
    assert checkpoint_file.read(Path(pruned.summary["checkpoint"]))["global_step"] == 20
    assert "step 20 of 40" in (pruned.folder / "train.log").read_text()
    assert read_run(pruned.folder).settings["optimizer.lr"] == 1e-6
    overrides = [f"{key}={value}" for key, value in pruned.settings.items() if not key.startswith("data.path")]
    summary = train_here(pruned.folder, *overrides, "resume_from=last", path=text)
    assert (summary["status"], summary["steps"]) == ("finished", 40)


def test_a_search_that_is_killed_or_stopped_goes_on_as_if_it_had_not_been(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = "{optimizer.lr: {low: 1e-4, high: 0.1, log: true}, model.dropout: {low: 0.0, high: 0.5}}"
    whole, broken = (request(tmp_path / name, text, search_file(tmp_path, space), 4) for name in ("whole", "broken"))
    tuning.prepare(whole)
    tuning.work(whole)
    tuning.prepare(broken)
    moments = [(0, 13), (1, 20)]  # trial, step
    original = callbacks.Progress.on_train_batch_end

    def disturbing(self: Any, trainer: Any, *arguments: Any) -> None:
        number = len(list(broken.folder.glob("trial_*"))) - 1
        if moments and (number, trainer.global_step) >= moments[0]:
            moments.pop(0)
            if moments:
                raise Killed
            os.kill(os.getpid(), signal.SIGINT)
        original(self, trainer, *arguments)

    monkeypatch.setattr(callbacks.Progress, "on_train_batch_end", disturbing)
    with pytest.raises(Killed):
        tuning.work(broken)
    with pytest.raises(Stopped) as stop:
        tuning.work(broken)
    assert stop.value.exit_code == 130
    assert read_summary(broken.folder / "trial_001")["status"] == "interrupted"
    tuning.work(broken)
    assert state(broken.folder) == state(whole.folder)
    for one, other in zip(read_trials(broken.folder), read_trials(whole.folder), strict=True):
        for key in ("status", "reason", "steps", "val_bits_per_char"):
            assert one.summary[key] == other.summary[key]


def test_wrong_requests(text: Path, tmp_path: Path) -> None:
    def ask(space: str, *overrides: str) -> None:
        tuning.prepare(request(tmp_path / "study", text, search_file(tmp_path, space), 2, *overrides))

    for space, overrides, told in (
        ("{model.hiden: [1, 2]}", (), "search.yaml: there is no setting model.hiden; did you mean model.hidden"),
        ("{optimizer: [adamw, adamm]}", (), "search.yaml: optimizer=adamm is not an option of optimizer"),
        ("{model.hidden: [4, 5]}", (), "every setting of its space is fixed by the command"),
        ("{optimizer.lr: [0.1, 0.2]}", ("seed=1,2",), "seed takes one value here"),
        ("{optimizer.lr: [0.1, 0.2]}", ("resume_from=last",), "resume_from is set by the search itself"),
        ("{optimizer.lr: [0.1, 0.2]}", ("data.validation_fraction=0",), "set data.validation_fraction above 0"),
        ("{optimizer.lr: [0.1, 0.2]}", ("model.dropout=2",), "model.dropout must be a number"),
    ):
        with pytest.raises(RequestError, match=told):
            ask(space, *overrides)
    assert not (tmp_path / "study").exists()
    done = command("scripts/tune.py", "--trials", "0")
    assert (done.returncode, done.stderr) == (2, "tune.py: --trials must be a positive integer, got 0\n")


def test_two_processes_do_each_trial_once_and_one_goes_on_where_the_other_was_killed(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = search_file(tmp_path, "{optimizer.lr: {low: 1e-4, high: 0.1, log: true}}", "{name: none}")
    long = ("trainer.max_steps=300", "trainer.val_check_interval=100")
    wanted = request(tmp_path / "study", text, search, 6, *long)
    typed = [*wanted.overrides, "--search", search, "--folder", str(wanted.folder), "--trials", "6"]
    tuning.prepare(wanted)
    other = subprocess.Popen([sys.executable, str(ROOT / "scripts" / "tune.py"), *typed], stdout=subprocess.DEVNULL)
    begun = wanted.folder / "trial_000" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 60
    while not begun.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    end = Trial.end

    def end_and_kill_the_other(self: Trial, bits_per_char: float) -> None:
        end(self, bits_per_char)
        other.kill()

    monkeypatch.setattr(Trial, "end", end_and_kill_the_other)
    assert tuning.work(wanted)
    assert other.wait() == -signal.SIGKILL
    ours = re.findall(r"(trial_\d+)  finished", capsys.readouterr().out)
    assert len(ours) == len({*ours}) <= 6
    assert [trial[1] for trial in state(wanted.folder)] == ["COMPLETE"] * 6
    assert {trial.summary["steps"] for trial in read_trials(wanted.folder)} == {300}
    again = command("scripts/tune.py", *typed, "--jobs", "2")
    assert (again.returncode, again.stderr) == (0, "")
    assert "trials    6: 6 finished; 100 % of the steps of 6 whole runs" in again.stdout
