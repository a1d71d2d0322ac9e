"""Sweeps through Hydra's submitit launcher, on this machine and through a Slurm made of four small programs."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from charrnn.runs.checkpoint_file import read
from charrnn.runs.folder import read_summary
from charrnn.runs.sweep import register_resolvers
from charrnn.utils.paths import CONF
from conftest import command, start, train_here, wait_for
from test_sweep import SMALL, output
from zygote import Child

submitit = pytest.importorskip("submitit", reason="needs pip install -e '.[cluster]'")
LONG = (*SMALL, "threads=1", "trainer.max_steps=800", "checkpoint_every=50")
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


def start_sweep(folder: Path, launcher: str, text: Path, *overrides: str) -> Child:
    where = (f"data.path={text}", f"hydra.sweep.dir={folder}")
    return start("train.py", "-m", f"hydra/launcher={launcher}", *LONG, *overrides, *where)


def assert_as_undisturbed(run: Path, text: Path, *overrides: str) -> None:
    whole = run.with_name(f"whole {run.name}")
    summary = train_here(whole, *LONG, *overrides, path=text)
    ours, theirs = (read(folder / "checkpoints" / "last.ckpt")["state_dict"] for folder in (run, whole))
    assert all(ours[key].equal(theirs[key]) for key in theirs)
    for key in ("status", "steps", "best_step", "val_nats_per_char"):
        assert read_summary(run)[key] == summary[key]


@pytest.mark.slow
def test_on_this_machine(text_file: Path, tmp_path: Path) -> None:
    """One job is told that its time is over, is requeued and resumes; one is killed, which ends the command."""
    told, killed = tmp_path / "model.hidden-8", tmp_path / "model.hidden-9"
    with start_sweep(tmp_path, "submitit_local", text_file, "model.hidden=8,9") as process:
        for job, signum in ((told, signal.SIGUSR2), (killed, signal.SIGKILL)):
            wait_for((job / "checkpoints" / "previous.ckpt").exists)
            config = read(job / "checkpoints" / "last.ckpt")["charrnn"]["config"]
            (pid,) = [  # of the process that trains this job
                pid
                for controller in output("pgrep", "-P", str(process.pid)).split()
                for pid in output("pgrep", "-P", controller).split()
                if f"model.hidden={config['model']['hidden']}" in said(tmp_path, controller)
            ]
            os.kill(int(pid), signum)
        stdout, stderr = process.communicate(timeout=100)
    assert process.returncode == 1
    assert stderr.startswith("train.py: a job ended unexpectedly; jobs that finished keep their results (")
    assert stdout.endswith(f" hydra.sweep.dir={tmp_path} sweep.resume=true\n")
    assert read_summary(killed)["reason"] == "still running, or killed"
    log = (told / "train.log").read_text()
    assert "stopped by SIGUSR2; saved after step" in log
    assert "resuming  after step" in log
    assert_as_undisturbed(told, text_file, "model.hidden=8")


def said(folder: Path, controller: str) -> str:
    """The overrides of the job that a controller runs."""
    submitted = submitit.core.utils.DelayedSubmission.load(
        folder / ".submitit" / controller / f"{controller}_submitted.pkl"
    )
    return " ".join(submitted.args[0])


@pytest.mark.slow
def test_through_slurm(text_file: Path, tmp_path: Path, slurm: Path) -> None:
    """One job fails; the other is told that its time is over, Slurm queues it again, and it resumes."""
    folder = tmp_path / "a sweep"
    told, wrong = folder / "model.hidden-8", folder / "model.hidden--1"
    with start_sweep(folder, "slurm_cpu", text_file, "model.hidden=8,-1") as process:
        wait_for((told / "checkpoints" / "previous.ckpt").exists)
        os.kill(int((slurm / "process.77_0").read_text()), signal.SIGUSR2)
        _, stderr = process.communicate(timeout=100)
    assert (process.returncode, stderr) == (1, "")
    assert read_summary(wrong)["reason"] == "model.hidden must be a positive integer, got -1"
    assert "resuming  after step" in (told / "train.log").read_text()
    assert_as_undisturbed(told, text_file, "model.hidden=8")


def batch_file(folder: Path, *overrides: Any) -> set[str]:
    """The lines of the sbatch file that Hydra's launcher would submit."""
    register_resolvers()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        config = compose("config", [*overrides, f"hydra.sweep.dir={folder}"], return_hydra_config=True)
    parameters = {
        key: value for key, value in config.hydra.launcher.items() if key not in ("_target_", "submitit_folder")
    }
    parameters |= {
        "setup": list(parameters["setup"]),
        "additional_parameters": dict(parameters["additional_parameters"]),
    }
    del parameters["max_num_timeout"]
    executor = submitit.AutoExecutor(folder / ".submitit" / "%j", "slurm")
    shared = (
        "timeout_min",
        "cpus_per_task",
        "gpus_per_node",
        "tasks_per_node",
        "mem_gb",
        "nodes",
        "name",
        "stderr_to_stdout",
    )
    executor.update_parameters(**{key if key in shared else f"slurm_{key}": value for key, value in parameters.items()})
    text = executor._executor._make_submission_file_text("run", "1")
    return {line.removeprefix("#SBATCH --") for line in text.splitlines()}


def test_what_is_asked_of_slurm(tmp_path: Path, slurm: Path) -> None:
    everywhere = {
        "time=240", "signal=USR2@120", "requeue", "open-mode=append", "job-name=train", "wckey=submitit",
        f"output={tmp_path}/.submitit/%j/%j_0_log.out", f"error={tmp_path}/.submitit/%j/%j_0_log.err",
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
        assert {"export SLURM_KILL_BAD_EXIT=1", "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"} <= written
    partition = batch_file(tmp_path, "hydra/launcher=slurm_gpu", "hydra.launcher.partition=a")
    assert {"partition=a", "gpus-per-node=1"} <= partition


def test_without_slurm_and_refused_by_it(text_file: Path, tmp_path: Path, slurm: Path) -> None:
    sweep = ("-m", "hydra/launcher=slurm_cpu", *LONG, f"data.path={text_file}", f"hydra.sweep.dir={tmp_path}/sweep")
    (slurm / "sbatch").write_text("#!/bin/bash\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    refused = command("train.py", *sweep)
    assert refused.returncode == 2
    assert refused.stderr.endswith("train.py: Slurm did not accept the jobs: sbatch: error: invalid partition\n")
    missing = command("train.py", *sweep, PATH="/usr/bin:/bin")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "Slurm is not available here: run this on a cluster, or use hydra/launcher=joblib" in missing.stderr
