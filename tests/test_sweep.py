"""Sweeps as a user types them: side by side, and issued again."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charrnn.process import default_threads
from charrnn.runs import read_summary
from conftest import ROOT, command

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs pip install hydra-joblib-launcher cloudpickle")
SMALL = (
    "-m", "data=text", "data.batch_size=4", "data.sequence_length=8", "data.validation_fraction=0.1",
    "data.test_fraction=0", "trainer.accelerator=cpu", "scheduler=constant",
)  # fmt: skip
SIDE_BY_SIDE = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def test_side_by_side_and_issued_again(text_file: Path, tmp_path: Path) -> None:
    sweep = (*SMALL, f"data.path={text_file}", f"hydra.sweep.dir={tmp_path}", "trainer.max_steps=20")
    jobs = {hidden: tmp_path / f"model.hidden-{hidden}" for hidden in (8, 9, -1)}
    done = command("train.py", *sweep, *SIDE_BY_SIDE, "model.hidden=8,9,-1")
    assert (done.returncode, done.stderr) == (1, "train.py: model.hidden must be a positive integer, got -1\n")
    assert {hidden: read_summary(job)["status"] for hidden, job in jobs.items()} == {
        8: "finished", 9: "finished", -1: "failed",
    }  # fmt: skip
    assert read_summary(jobs[8])["threads"] == default_threads(2)
    for hidden, job in jobs.items():
        assert f"{job.name}: {'failed' if hidden == -1 else 'finished, '}" in done.stdout
        assert "step 20 of 20" not in done.stdout  # said in train.log
    assert (tmp_path / "leaderboard.csv").read_text().count("finished") == 2
    assert "step 20 of 20" in (jobs[9] / "train.log").read_text()

    (jobs[9] / "summary.json").write_text('{"status": "interrupted"}')  # as if killed while it was scored
    logs = (jobs[8] / "train.log", jobs[9] / "train.log", tmp_path / "multirun.yaml")
    files = [file for file in jobs[8].rglob("*") if file.is_file() and file not in logs]
    before = {file: file.stat().st_mtime_ns for file in [*files, *jobs[9].rglob("events*")]}
    again = command("train.py", *sweep, "model.hidden=8,9,-1", "sweep.resume=true")
    assert again.returncode == 1  # the third one fails again
    assert {file: file.stat().st_mtime_ns for file in files} == {file: before[file] for file in files}
    assert read_summary(jobs[9])["status"] == "finished"
    table = (tmp_path / "leaderboard.md").read_text()
    assert (table.count("finished"), table.count("failed")) == (2, 1)


def test_ctrl_c_ends_all_jobs_and_leaves_no_process(text_file: Path, tmp_path: Path) -> None:
    sweep = (*SMALL, f"data.path={text_file}", f"hydra.sweep.dir={tmp_path}", "trainer.max_steps=1000000", "seed=1,2,3")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *sweep, *SIDE_BY_SIDE],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    begun = [tmp_path / f"seed-{seed}" for seed in (1, 2)]
    deadline = time.monotonic() + 60
    while not all((job / "checkpoints" / "last.ckpt").exists() for job in begun) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = output("pgrep", "-P", str(process.pid)).split()
    assert len(children) >= 2
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "")
    assert stdout.endswith(f"to go on: the same command with hydra.sweep.dir={tmp_path} sweep.resume=true\n")
    for job in begun:
        assert read_summary(job)["status"] == "interrupted"
    assert not (tmp_path / "seed-3").exists()
    deadline = time.monotonic() + 5  # Python's own helper process ends a moment after its parent
    while (left := alive(children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def alive(pids: list[str]) -> list[str]:
    return [pid for pid in pids if output("ps", "-o", "stat=", "-p", pid)[:1] not in ("", "Z")]


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
