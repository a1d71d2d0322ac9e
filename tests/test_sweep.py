"""Sweeps as a user types them: side by side, interrupted, and issued again."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from charrnn.runs.checkpoint_file import read
from charrnn.runs.folder import read_summary
from charrnn.runs.sweep import launcher_line
from charrnn.utils.process import default_threads
from conftest import command, start, train_here, wait_for

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs pip install -e '.[sweep]'")
SMALL = (
    "data=text", "data.batch_size=4", "data.sequence_length=8", "data.validation_fraction=0.1",
    "data.test_fraction=0", "trainer.accelerator=cpu", "scheduler=constant", "callbacks=none",
)  # fmt: skip
SIDE_BY_SIDE = ("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def alive(pids: list[str]) -> list[str]:
    return [pid for pid in pids if output("ps", "-o", "stat=", "-p", pid)[:1] not in ("", "Z")]


@pytest.mark.slow
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
    assert "20  val " not in done.stdout  # only in train.log
    assert (tmp_path / "leaderboard.csv").read_text().count("finished") == 2
    assert "20  val " in (jobs[9] / "train.log").read_text()

    (jobs[9] / "summary.json").write_text('{"status": "interrupted"}')  # as if killed while it was scored
    logs = (jobs[8] / "train.log", jobs[9] / "train.log", tmp_path / "multirun.yaml")
    files = [file for file in jobs[8].rglob("*") if file.is_file() and file not in logs]
    before = {file: file.stat().st_mtime_ns for file in [*files, *jobs[9].rglob("events*")]}
    again = command("train.py", "-m", *sweep, "model.hidden=8,9,-1", "sweep.resume=true")
    assert again.returncode == 1  # the third one fails again
    assert {file: file.stat().st_mtime_ns for file in files} == {file: before[file] for file in files}
    assert read_summary(jobs[9])["status"] == "finished"
    table = (tmp_path / "leaderboard.md").read_text()
    assert (table.count("finished"), table.count("failed")) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "target", "code"), [(signal.SIGKILL, "job", 1), (signal.SIGINT, "sweep", 130)])
def test_an_interrupted_sweep_resumes(text_file: Path, tmp_path: Path, signum: int, target: str, code: int) -> None:
    """A job is killed, which ends the sweep; or Ctrl-C does. No process is left, and the same command does the rest."""
    training = (*SMALL, "threads=1", "trainer.max_steps=400", "checkpoint_every=50")
    sweep = [*SIDE_BY_SIDE, *training, f"data.path={text_file}", f"hydra.sweep.dir={tmp_path}", "seed=1,2,3"]
    process = start("train.py", *sweep)
    begun = [tmp_path / f"seed-{seed}" for seed in (1, 2)]
    wait_for(lambda: all((job / "checkpoints" / "previous.ckpt").exists() for job in begun))
    children = output("pgrep", "-P", str(process.pid)).split()
    workers = output("pgrep", "-P", str(process.pid), "-f", "LokyProcess").split()
    os.kill(process.pid if target == "sweep" else int(workers[0]), signum)
    stdout, stderr = process.communicate(timeout=100)
    killed = "train.py: a job was killed, which ended the sweep; jobs that finished keep their results\n"
    last = f"hydra.sweep.dir={tmp_path} sweep.resume=true"
    assert (process.returncode, stderr) == (code, killed if target == "job" else "")
    assert stdout.endswith(f"seed=1,2,3 hydra/launcher=joblib hydra.launcher.n_jobs=2 {last}\n")
    assert {read_summary(job)["status"] for job in begun} == {"interrupted"}
    wait_for(lambda: not alive(children))

    if target == "sweep":
        return
    resumed = command("train.py", "-m", *sweep[len(SIDE_BY_SIDE) :], "sweep.resume=true")  # one after the other
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert (tmp_path / "leaderboard.csv").read_text().count("finished") == 3
    train_here(tmp_path / "whole", *training, "seed=1", path=text_file)
    ours, theirs = (read(job / "checkpoints" / "last.ckpt")["state_dict"] for job in (begun[0], tmp_path / "whole"))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


def test_a_sweep_of_runs_on_several_devices_is_refused_as_a_whole(text_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    done = command(
        "train.py", "-m", *SMALL, f"data.path={text_file}", f"hydra.sweep.dir={folder}", "trainer=ddp", "seed=1,2"
    )
    assert done.returncode == 2
    assert done.stderr == (
        "train.py: a sweep trains each run on one device; to use several, leave out -m, "
        "or use hydra/launcher=slurm_ddp\n"
    )
    assert not folder.exists()


def test_other_errors_are_not_taken_for_those_of_a_launcher() -> None:
    assert launcher_line(RuntimeError("something else")) is None
    assert launcher_line(ValueError("sbatch: error: invalid partition")) is None
