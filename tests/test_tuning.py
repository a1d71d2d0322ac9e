"""Searches that train: small networks on a small text."""

import os
import re
import runpy
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from charrnn import callbacks, checkpoint_file
from charrnn.errors import RequestError, Stopped
from charrnn.records import read_job
from charrnn.runs import read_summary
from conftest import ROOT, command, train_here

pytest.importorskip("optuna", reason="needs pip install -e '.[tune]'")
from charrnn import study, tuning
from charrnn.search_report import report
from charrnn.study import Request, newest, open_study

SMALL = (
    "data=text", "model.hidden=4", "data.batch_size=4", "data.sequence_length=8", "data.validation_fraction=0.1",
    "data.test_fraction=0", "trainer.accelerator=cpu", "trainer.max_steps=40", "trainer.val_check_interval=10",
    "checkpoint_every=5", "threads=1", "callbacks=none",
)  # fmt: skip
MEDIAN = "{_target_: optuna.pruners.MedianPruner, n_startup_trials: 1, n_warmup_steps: 2}"
NONE = "{_target_: optuna.pruners.NopPruner}"


class Killed(BaseException):
    """As SIGKILL: nobody handles it."""


@pytest.fixture(scope="module")
def text(docs: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "a.txt"
    file.write_text(docs[:1500])
    return file


def search_file(folder: Path, space: str, pruner: str = MEDIAN) -> str:
    file = folder / "search.yaml"
    sampler = "{_target_: optuna.samplers.TPESampler, seed: 1, n_startup_trials: 3}"
    file.write_text(f"space: {space}\nsampler: {sampler}\npruner: {pruner}\n")
    return str(file)


def request(folder: Path, text: Path, search: str, trials: int, *overrides: str) -> Request:
    return tuning.make_request(folder, [*SMALL, f"data.path={text}", *overrides], search, trials)


def test_good_settings_are_found_and_poor_ones_end_early(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = search_file(tmp_path, "{optimizer.lr: [1e-6, 0.003], model.activation: [tanh, selu]}")
    wanted = request(tmp_path / "study", text, search, 9, "optimizer.weight_decay=0.02")
    assert wanted.trials == 4  # there are no more
    tuning.work(wanted, tuning.prepare(wanted))
    said = capsys.readouterr().out
    trials = [read_job(wanted.folder / f"trial_{number:03d}") for number in range(4)]
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
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "HEARTBEAT_SECONDS", 1)
    monkeypatch.setattr(study, "GRACE", timedelta(seconds=1))
    search = search_file(tmp_path, "{optimizer.lr: {low: 1e-4, high: 0.1, log: true}}", NONE)
    wanted = request(tmp_path / "study", text, search, 2)
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
    assert [trial.state.name for trial in newest(open_study(wanted)).values()] == ["COMPLETE"] * 2
    assert [*newest(open_study(wanted))["trial_001"].intermediate_values] == [1, 2, 3]


def test_wrong_requests(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = "{optimizer.lr: [0.1, 0.2]}"
    for space, override, told in (
        ("{model.hiden: [1, 2]}", "", "search.yaml: there is no setting model.hiden; did you mean model.hidden"),
        ("{optimizer: [adamw, adamm]}", "", "search.yaml: optimizer=adamm is not an option of optimizer"),
        ("{model.hidden: [4, 5]}", "", "every setting of its space is fixed by the command"),
        (rates, "seed=1,2", "seed takes one value; to try several, one run each, name them in a file for --search"),
        (rates, "resume_from=last", "resume_from is set by the search itself"),
        (rates, "hydra.run.dir=a", "hydra.run.dir is set by the search itself"),
        (rates, "trainer.devices=2", "one device, got trainer.devices=2"),
        (rates, "data.validation_fraction=0", "set data.validation_fraction above 0"),
        (rates, "model.dropout=2", "model.dropout must be a number"),
    ):
        search = search_file(tmp_path, space)
        with pytest.raises(RequestError, match=told):
            tuning.prepare(request(tmp_path / "study", text, search, 2, *filter(None, [override])))
    assert not (tmp_path / "study").exists()
    done = command("scripts/tune.py", "--trials", "0")
    assert (done.returncode, done.stderr) == (2, "tune.py: --trials must be a positive integer, got 0\n")
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr(sys, "argv", ["tune.py"])
    with pytest.raises(
        RequestError, match=r"the search needs optuna, which is not installed: pip install -e '.\[tune\]'"
    ):
        runpy.run_path(str(ROOT / "scripts" / "tune.py"), run_name="tune")["main"]()


def test_two_processes_are_stopped_together_and_continued_in_a_database_of_ones_own(text: Path, tmp_path: Path) -> None:
    search = search_file(tmp_path, "{optimizer.lr: {low: 1e-4, high: 0.1, log: true}}", NONE)
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
    assert sorted(re.findall(r"(trial_\d+)  finished", again.stdout)) == ["trial_000", "trial_001", "trial_002"]
    assert "trials    3: 3 finished; 100 % of the steps of 3 whole runs" in again.stdout
    assert "resuming  after step" in (folder / "trial_001" / "train.log").read_text()
    assert not (folder / "study.db").exists()
