"""The jobs of a sweep side by side, in the place of Hydra's joblib launcher. Hydra takes launchers from here only."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict, read_write

from charrnn.errors import print_error, require_integer
from charrnn.process import default_threads, processors
from charrnn.runs import read_summary, write_summary
from charrnn.sweep import SweepCallback
from charrnn.workers import run_tasks

log = logging.getLogger(__name__)


class SideBySideLauncher(Launcher):
    """Runs `n_jobs` jobs at a time, in processes that each take the next job when one has ended."""

    def __init__(self, n_jobs: int, **joblib: Any) -> None:
        self._n_jobs = n_jobs  # -1: as many as there are processors

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._at_once = processors() if self._n_jobs == -1 else require_integer("hydra.launcher.n_jobs", self._n_jobs)
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run all jobs; nan is what one returns that failed or was killed. Raises `Stopped` after Ctrl-C."""
        import cloudpickle

        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        with read_write(self._config):  # on the screen the jobs' lines would be mixed; each has its train.log
            self._config.hydra.overrides.hydra.append("hydra.job_logging.root.handlers=[file]")
        at_once = min(self._at_once, len(job_overrides))
        threads = default_threads(at_once)
        log.info("%d jobs, %d at a time; every job writes its own train.log", len(job_overrides), at_once)
        shared = (self._context, self._config, self._task, Singleton.get_state())
        jobs = list(enumerate(job_overrides, initial_job_idx))
        folders = [self._folder(*job) for job in jobs]
        SweepCallback.jobs.update(folders)
        returns = [
            JobReturn(overrides, status=JobStatus.COMPLETED, _return_value=math.nan) for overrides in job_overrides
        ]

        def ended(place: int, result: float | None) -> None:
            _report(folders[place], killed=result is None)
            if result is not None:
                returns[place].return_value = result

        run_tasks([cloudpickle.dumps((_run, (*job, *shared))) for job in jobs], at_once, threads, ended)
        return returns

    def _folder(self, number: int, overrides: Sequence[str]) -> Path:
        config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        with open_dict(config):
            config.hydra.job.num = number
        return Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()


def _report(folder: Path, *, killed: bool) -> None:
    """One line on the screen for a job that has ended."""
    if killed and read_summary(folder)["status"] == "missing":
        write_summary(folder, {"status": "failed", "reason": "its process was killed before the run began"})
    summary = read_summary(folder)
    bits = summary.get("val_bits_per_char")
    figure = "" if bits is None else f", {bits:.4f} bits per character"
    log.info("%s: %s%s", folder.name, summary["status"], figure)


def _run(
    number: int, overrides: Sequence[str], context: HydraContext, config: DictConfig, task: TaskFunction, state: Any
) -> float:
    """One job, in a process of the launcher's."""
    from hydra_plugins.hydra_joblib_launcher._core import execute_job

    try:
        return float(execute_job(number, overrides, context, config, task, state).return_value)
    except Exception as error:  # before the job itself began, which lets none out
        print_error("train.py", f"{' '.join(overrides)}: {type(error).__name__}: {error}")
        return math.nan
