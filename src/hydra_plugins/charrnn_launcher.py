"""The jobs of a sweep side by side, in the place of Hydra's joblib launcher. Hydra takes launchers from here only."""

import logging
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write

from charrnn.errors import require_integer
from charrnn.jobs import report_job, sweep_jobs
from charrnn.process import default_threads, processors
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
        jobs = sweep_jobs(self._context, self._config, self._task, job_overrides, initial_job_idx)
        folders = [job.folder for job in jobs]
        SweepCallback.jobs.update(folders)
        returns = [job.returned(None) for job in jobs]

        def ended(place: int, value: float | None) -> None:
            report_job(folders[place], killed=value is None)
            returns[place] = jobs[place].returned(value)

        run_tasks([cloudpickle.dumps((job.run, ())) for job in jobs], at_once, threads, ended)
        return returns
