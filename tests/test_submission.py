"""Sweeps through submitit: on this machine, and through a Slurm that is made of four small programs."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins

from charrnn.checkpoint_file import read
from charrnn.errors import RequestError
from charrnn.overrides import CONF
from charrnn.process import default_threads
from charrnn.runs import read_summary
from charrnn.sweep import OWN_LAUNCHERS, SweepCallback, register_resolvers
from conftest import ROOT, train_here

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs pip install hydra-submitit-launcher")
SMALL = (
    "data=text", "data.batch_size=4", "data.sequence_length=8", "data.validation_fraction=0.1", "data.test_fraction=0",
    "trainer.accelerator=cpu", "scheduler=constant", "trainer.max_steps=2000", "checkpoint_every=50",
    "threads=1", "callbacks=none",
)  # fmt: skip
SLURM = {
    "sbatch": """
        # Begins the jobs of an array, and begins one anew that scontrol requeues.
        echo "Submitted batch job 77"
        exec </dev/null >"$FAKE/log" 2>&1
        for place in $(seq 0 $(sed -n 's/#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")); do (
            export SLURM_JOB_ID=$((77 + place)) SLURM_ARRAY_JOB_ID=77 SLURM_ARRAY_TASK_ID=$place
            export SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NAME=train
            bash "$1"
            if rm "$FAKE/requeue.77_$place"; then SLURM_RESTART_COUNT=1 bash "$1"; fi
            echo "77_$place|COMPLETED|here" >>"$FAKE/ended"
        ) & done
    """,
    "srun": """
        while [ "${1#--}" != "$1" ]; do
            case "$1" in --output) out=$2; shift 2 ;; --error) err=$2; shift 2 ;; *) shift ;; esac
        done
        name() { echo "$1" | sed "s/%A/77/; s/%a/$SLURM_ARRAY_TASK_ID/; s/%t/0/"; }
        echo $$ >"$FAKE/process.77_$SLURM_ARRAY_TASK_ID"
        exec "$@" >>"$(name "$out")" 2>>"$(name "$err")"
    """,
    "scontrol": 'touch "$FAKE/$1.$2"',
    "sacct": 'echo "JobID|State|NodeList"; cat "$FAKE/ended" 2>/dev/null || true',
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what the programs of Slurm note; they are found as on a machine that has them."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, program in SLURM.items():
        (folder / name).write_text(f"#!/bin/bash\n{program}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(folder))
    return folder


class Sweep:
    """`train.py -m` at work; `ids` are its jobs by the names of their folders."""

    def __init__(self, folder: Path, launcher: str, text: Path, *overrides: str) -> None:
        self.folder = folder
        command = [sys.executable, str(ROOT / "train.py"), "-m", f"hydra/launcher={launcher}", *SMALL, *overrides]
        self.process = subprocess.Popen(
            [*command, f"data.path={text}", f"hydra.sweep.dir={folder}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        lines = [self.process.stdout.readline().strip() for _ in range(int(self.first_line.split()[0]))]
        self.ids = {name: job for job, name in (line.removeprefix("job ").split(": ") for line in lines)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with self.process:
            self.process.kill()

    def wait_for_steps(self, name: str) -> None:
        """Until the job has written its second checkpoint, after its first 50 steps."""
        wait_for(lambda: (self.folder / name / "checkpoints" / "previous.ckpt").exists())

    def end(self) -> tuple[int, str, str]:
        stdout, stderr = self.process.communicate(timeout=60)
        return self.process.returncode, stdout, stderr


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def assert_as_undisturbed(run: Path, text: Path, *overrides: str) -> None:
    whole = run.with_name(f"whole {run.name}")
    summary = train_here(whole, *SMALL, *overrides, path=text)
    ours, theirs = (read(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in (run, whole))
    assert all(ours[key].equal(theirs[key]) for key in theirs)
    for key in ("status", "steps", "best_step", "val_nats_per_char"):
        assert read_summary(run)[key] == summary[key]


def test_on_this_machine(text_file: Path, tmp_path: Path) -> None:
    """One job is killed and ends no other; another is told that its time is over, and goes on."""
    told, killed = "model.hidden-8", "model.hidden-9"
    with Sweep(tmp_path, "submitit_local", text_file, "model.hidden=8,9") as sweep:
        assert sweep.first_line == f"2 jobs; what they say is in {tmp_path}/.submitit\n"
        for name, signum in ((told, signal.SIGUSR2), (killed, signal.SIGKILL)):
            sweep.wait_for_steps(name)
            os.kill(int(output("pgrep", "-P", sweep.ids[name])), signum)
        code, stdout, stderr = sweep.end()
    assert (code, stderr) == (1, "")
    assert f"{killed}: interrupted, killed\n" in stdout
    assert re.search(rf"^{told}: finished, \d\.\d{{4}} bits per character$", stdout, re.MULTILINE)
    assert (tmp_path / "leaderboard.csv").read_text().count("finished") == 1
    said = (tmp_path / ".submitit" / f"{sweep.ids[told]}_0_log.out").read_text()
    assert "stopped by SIGUSR2; saved after step" in said
    assert "resuming  after step" in said
    assert_as_undisturbed(tmp_path / told, text_file, "model.hidden=8")


def test_ctrl_c_ends_the_jobs_on_this_machine(text_file: Path, tmp_path: Path) -> None:
    with Sweep(tmp_path, "submitit_local", text_file, "trainer.max_steps=1000000", "threads=auto") as sweep:
        ((name, job),) = sweep.ids.items()
        sweep.wait_for_steps(name)
        os.killpg(sweep.process.pid, signal.SIGINT)  # as the terminal does
        code, stdout, stderr = sweep.end()
    assert (code, stderr) == (130, "")
    assert stdout.endswith(f"to go on: the same command with hydra.sweep.dir={tmp_path} sweep.resume=true\n")
    summary = read_summary(tmp_path / name)
    assert (summary["status"], summary["reason"]) == ("interrupted", "SIGTERM")
    assert summary["threads"] == default_threads()
    assert not output("ps", "-o", "pid=", "-p", job)


def test_through_slurm(text_file: Path, tmp_path: Path, slurm: Path) -> None:
    """One job fails; the other is told that its time is over, Slurm queues it again, and it goes on."""
    folder, told, wrong = tmp_path / "a sweep", "model.hidden-8", "model.hidden--1"
    with Sweep(folder, "slurm_cpu", text_file, "model.hidden=8,-1") as sweep:
        assert sweep.ids == {told: "77_0", wrong: "77_1"}
        sweep.wait_for_steps(told)
        os.kill(int((slurm / "process.77_0").read_text()), signal.SIGUSR2)
        code, stdout, stderr = sweep.end()
    assert (code, stderr) == (1, "")
    assert f"{wrong}: failed, model.hidden must be a positive integer, got -1\n" in stdout
    assert "resuming  after step" in (folder / told / "train.log").read_text()
    assert_as_undisturbed(folder / told, text_file, "model.hidden=8")


def launcher(folder: Path, *overrides: str) -> Any:
    """What `train.py -m` would hand its jobs to."""
    register_resolvers()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = compose("config", [*overrides, f"hydra.sweep.dir={folder}"], return_hydra_config=True)
    config.hydra.launcher._target_ = f"hydra_plugins.{OWN_LAUNCHERS[config.hydra.launcher._target_]}"
    return Plugins.instance()._instantiate(config.hydra.launcher)


def batch_file(*arguments: Any) -> set[str]:
    text = launcher(*arguments).executor()._executor._make_submission_file_text("run", "1")
    return {line.removeprefix("#SBATCH --") for line in text.splitlines()}


def test_what_is_asked_of_slurm(tmp_path: Path, slurm: Path) -> None:
    everywhere = {
        "time=240", "signal=USR2@120", "requeue", "open-mode=append", "job-name=train", "wckey=submitit",
        f"output={tmp_path}/.submitit/%j_0_log.out", f"error={tmp_path}/.submitit/%j_0_log.err",
    }  # fmt: skip
    asked = {
        "slurm_cpu": {"nodes=1", "ntasks-per-node=1", "cpus-per-task=8"},
        "slurm_gpu": {"nodes=1", "ntasks-per-node=1", "cpus-per-task=4", "gpus-per-node=1"},
        "slurm_ddp": {"nodes=2", "ntasks-per-node=4", "cpus-per-task=4", "gpus-per-node=4"},
    }
    for name, lines in asked.items():
        devices = ["trainer.devices=4", "trainer.num_nodes=2"] if name == "slurm_ddp" else []
        written = batch_file(tmp_path, f"hydra/launcher={name}", *devices)
        parameters = {line for line in written if re.fullmatch(r"requeue|[a-z-]+=.*", line)}
        assert parameters == everywhere | lines, name
        (command,) = (line for line in written if line.startswith("srun "))
        assert f"--kill-on-bad-exit=1 --cpus-per-task={8 if name == 'slurm_cpu' else 4} " in command
    written = batch_file(
        tmp_path, "hydra/launcher=slurm_gpu", "hydra.launcher.partition=a", "hydra.launcher.setup=[module load cuda]"
    )
    assert {"partition=a", "module load cuda", "gpus-per-node=1"} <= written


def test_ctrl_c_leaves_the_jobs_with_slurm(tmp_path: Path, slurm: Path, caplog: pytest.LogCaptureFixture) -> None:
    SweepCallback.jobs.add(tmp_path)
    caplog.set_level("INFO")
    waiting = {place: SimpleNamespace(job_id=f"77_{place}") for place in range(2)}
    launcher(tmp_path, "hydra/launcher=slurm_cpu").stop(waiting, print)
    assert caplog.messages == ["2 jobs stay with Slurm; squeue --me shows them, scancel 77 ends them"]
    assert not SweepCallback.jobs  # none of them is told to have failed


def test_without_slurm_and_refused_by_it(tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = launcher(tmp_path, "hydra/launcher=slurm_cpu")
    (slurm / "sbatch").write_text("#!/bin/bash\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    refused = pytest.raises(RequestError, match="Slurm did not take the jobs: sbatch: error: invalid partition$")
    with refused, ours.submitting(1):
        ours.executor().submit(print)
    assert not (tmp_path / ".submitit").exists()
    monkeypatch.setenv("PATH", "/nowhere")
    missing = pytest.raises(RequestError, match="Slurm's sbatch and srun can't be found; begin the sweep on a machine")
    with missing, ours.submitting(1):
        pass
