"""Around the jobs of a Hydra multirun: their folders, how they resume and stop, and the leaderboard at the end."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from charrnn.runs.commands import override, resume_sweep, show_curves
from charrnn.runs.folder import (
    CHECKPOINTS,
    HYDRA_FOLDER,
    LOG,
    SUMMARY,
    job_folder_name,
    read_summary,
)
from charrnn.runs.leaderboard import heading, write_leaderboard
from charrnn.runs.leftovers import Before
from charrnn.runs.settings_files import refuse_foreign_sweep
from charrnn.runs.sweep_checks import check_sweep
from charrnn.utils.cli import EXIT_FAILED, EXIT_REQUEST
from charrnn.utils.errors import RequestError, Stopped, one_line
from charrnn.utils.hydra_errors import check_options, request_line
from charrnn.utils.paths import CONF, OUTPUTS, require_project
from charrnn.utils.process import cpu_cores, default_threads, when_parent_ends
from charrnn.utils.streams import say
from charrnn.utils.validation import count_devices

SEVERAL_DEVICES = "a sweep trains each run on one device; to use several, leave out -m, or use hydra/launcher=slurm_ddp"


class SweepRefused(BaseException):
    """Raised to refuse a whole sweep. Not an `Exception`: Hydra would only warn of it, or end no more than a job."""

    def __init__(self, message: str = SEVERAL_DEVICES) -> None:
        super().__init__(message)


def register_resolvers() -> None:
    """Register the resolvers `${outputs:}` and `${job_folder:NAME,NUMBER}` of conf/config.yaml."""
    OmegaConf.register_new_resolver("outputs", lambda: str(OUTPUTS), replace=True)
    OmegaConf.register_new_resolver("job_folder", job_folder_name, replace=True)


def composed(overrides: Sequence[str]) -> DictConfig:
    """Compose the config that train.py would have, `hydra` included; raise `RequestError` for wrong overrides."""
    register_resolvers()
    require_project()
    check_options(overrides)
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return compose("config", overrides=list(overrides), return_hydra_config=True)
    except Exception as error:
        if (line := request_line(error, overrides)) is None:
            raise
        raise RequestError(line) from error


def in_sweep() -> bool:
    """Return whether this run is a job of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def in_submitit_job() -> bool:
    """Return whether submitit started this process, on a cluster or on this machine."""
    return "SUBMITIT_EXECUTOR" in os.environ


class SweepCallback(Callback):
    """Remembers the folder of the run or the sweep, and keeps keys that are not swept out of the jobs' folder names.

    Launchers that start other processes pickle Hydra's callbacks; unpickling this one registers the resolvers there.
    """

    folder: Path | None = None  # the folder of the sweep that this process started
    before: Before | None = None  # what the folder of the run or the sweep held
    command = ""  # resumes the sweep
    dry_run = False  # of the sweep

    def __init__(self) -> None:
        register_resolvers()

    def __reduce__(self) -> tuple[type["SweepCallback"], tuple[()]]:
        return SweepCallback, ()

    @classmethod
    def reset(cls) -> None:
        """Forget an earlier command of this process."""
        cls.folder, cls.before, cls.command, cls.dry_run = None, None, "", False

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with suppress(OSError, OmegaConfBaseException):  # Hydra refuses such a folder itself
            SweepCallback.before = Before.of(Path(config.hydra.run.dir).absolute(), config.hydra.output_subdir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            folder = Path(config.hydra.sweep.dir).absolute()
            overrides = check_sweep(config, GlobalHydra.instance().config_loader())
            refuse_foreign_sweep(folder)
            before = Before.of(folder, config.hydra.output_subdir)
        except Exception as error:
            if (line := request_line(error)) is None:
                raise
            raise SweepRefused(line) from error
        swept = {each.key_or_group for each in overrides if each.is_sweep_override()}
        excluded = ",".join(f"'{key}'" for key in {each.key_or_group for each in overrides} - swept)
        more = [f"hydra.job.config.override_dirname.exclude_keys=[{excluded}]"]
        launcher = config.hydra.launcher._target_
        devices = OmegaConf.select(config, "trainer.devices")
        if "Slurm" not in launcher and devices is not None and count_devices(devices) != 1:
            raise SweepRefused
        SweepCallback.folder, SweepCallback.before = folder, before
        SweepCallback.command = resume_sweep(config, folder)
        SweepCallback.dry_run = OmegaConf.select(config, "dry_run") is True
        if "joblib" in launcher:  # parallel jobs would mix their lines on the screen; each has its train.log
            more.append("hydra.job_logging.root.handlers=[file]")
            jobs = config.hydra.launcher.n_jobs
            os.environ.setdefault("OMP_NUM_THREADS", str(default_threads(jobs if jobs > 0 else cpu_cores())))
        if "submitit" in launcher:  # a job that is requeued later must find the same folder
            more.append(override("hydra.sweep.dir", folder))
        with read_write(config):  # each job is composed from these, in its own process
            config.hydra.overrides.hydra.extend(more)


def refuse_resume_without_sweep(cfg: DictConfig) -> None:
    """Raise `RequestError` for `sweep.resume=true` in a run that is no job of a sweep."""
    if OmegaConf.select(cfg, "sweep.resume") is True and not in_sweep():
        raise RequestError("sweep.resume works only in a sweep (-m); to resume a single run, use resume_from=last")


def resume_requeued_job(cfg: DictConfig) -> None:
    """Set `resume_from=last` with `sweep.resume=true`, and in a requeued submitit job (its folder has a checkpoint)."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if OmegaConf.select(cfg, "sweep.resume") or (in_submitit_job() and any((folder / CHECKPOINTS).glob("*.ckpt"))):
        cfg.resume_from = "last"


@cache  # once per process, which may run several jobs one after the other
def stop_with_launcher() -> None:
    """Save and stop the run of a process that the joblib launcher started, once the launcher has ended."""
    if multiprocessing.current_process().name.startswith("Loky"):
        sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # parallel progress bars would overwrite each other
        when_parent_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))


@contextmanager
def requeued_by_submitit() -> Iterator[None]:
    """Pass the signal that stopped a saved run on to submitit, which requeues the job.

    submitit's handler ends rank 0 only; on the others the block returns, since their exit code could end rank 0 first.
    """
    try:
        yield
    except Stopped as stop:
        handler = signal.getsignal(stop.signum)
        if not in_submitit_job():
            raise
        if stop.signum == signal.SIGINT or not callable(handler):
            sys.exit(stop.exit_code)
        try:
            handler(stop.signum, None)
        except subprocess.CalledProcessError:  # Slurm refuses if it is already requeueing the job
            sys.exit(stop.exit_code)


def end_job(status: str) -> None:
    """Print how a job ended that logs to its file only, and end the process if other Slurm tasks wait for it."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().job_logging["root"]["handlers"] == ["file"]:
        bits = read_summary(folder).get("val_bits_per_char")
        say(f"{folder.name}: {status}" + (f", {bits:.4f} bits per character" if bits is not None else ""))
    if status == "failed" and in_submitit_job() and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        sys.exit(EXIT_FAILED)


def launcher_line(error: Exception) -> tuple[str, int] | None:
    """Return a line and the exit code for an error of a launcher; None for any other error."""
    origin = type(error).__module__.split(".")[0]
    if origin == "joblib":
        return "a job was killed, which ended the sweep; jobs that finished keep their results", EXIT_FAILED
    if origin == "submitit":
        if "sbatch: error" in str(error):
            return f"Slurm did not accept the jobs: {one_line(error)}", EXIT_REQUEST
        return f"a job ended unexpectedly; jobs that finished keep their results ({one_line(error)})", EXIT_FAILED
    if isinstance(error, RuntimeError) and "slurm cluster" in str(error):  # raised by submitit without srun
        return "Slurm is not available here: run this on a cluster, or use hydra/launcher=joblib", EXIT_REQUEST
    return None


def report_sweep(folder: Path, ended: bool) -> tuple[str, bool]:
    """Write the leaderboard; return its text and whether all jobs finished.

    `ended` says whether the sweep itself ran to its end. A dry run leaves nothing, nor a sweep whose jobs never began.
    """
    jobs = [job for job in folder.glob("*/") if (job / LOG).exists() or (job / SUMMARY).exists()]
    all_finished = ended and all(read_summary(job).get("status") == "finished" for job in jobs)
    began = ended or any((job / name).exists() for job in jobs for name in (HYDRA_FOLDER, SUMMARY))
    if not (jobs and began) or SweepCallback.dry_run:
        if SweepCallback.before is not None:
            SweepCallback.before.restore_sweep()
        return "", all_finished or not jobs
    _, table = write_leaderboard(folder, shutil.get_terminal_size((120, 0)).columns)
    curves = "\n\n" + "\n".join(show_curves(folder)) if any(folder.glob("*/events.out.*")) else ""
    advice = "" if all_finished else f"\n\nto resume:\n  {SweepCallback.command}"
    return f"{heading(folder)}\n{table}".rstrip() + curves + advice, all_finished
