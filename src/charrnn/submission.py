"""A sweep through submitit: all jobs are handed over at once, then waited for."""

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, read_write

from charrnn.cluster_job import ClusterJob
from charrnn.errors import Stopped
from charrnn.jobs import report_job, sweep_jobs
from charrnn.signals import signals_raise_stopped
from charrnn.sweep import SweepCallback

if TYPE_CHECKING:  # Hydra imports this file at every start, with or without submitit
    from submitit import AutoExecutor, Job

    Waiting = dict[int, Job[float]]  # by their place among all jobs

log = logging.getLogger(__name__)


class SubmititLauncher(Launcher):
    """What Hydra's launchers for submitit have in common here; theirs end the sweep when a job is killed."""

    cluster: ClassVar[str]
    look_every: ClassVar[float]  # seconds

    def __init__(self, submitit_folder: str, max_num_timeout: int | None = None, **parameters: Any) -> None:
        self.files = Path(submitit_folder.removesuffix("/%j")).absolute()  # the names in it have the job's id anyway
        self._max_num_timeout = max_num_timeout
        self.parameters = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in parameters.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run all jobs; nan is what one returns that failed or was killed. Raises `Stopped` after Ctrl-C."""
        setup_globals()
        configure_log(self._config.hydra.hydra_logging, self._config.hydra.verbose)
        folder = str(Path(self._config.hydra.sweep.dir).absolute()).replace("\\", "\\\\").replace('"', '\\"')
        with read_write(self._config):  # a job that is queued again must find it the next day too
            self._config.hydra.overrides.hydra.append(f'hydra.sweep.dir="{folder}"')
        jobs = sweep_jobs(self._context, self._config, self._task, job_overrides, initial_job_idx)
        folders = [job.folder for job in jobs]
        with self.submitting(len(jobs)):
            executor = self.executor()
            with executor.batch():
                submitted = [executor.submit(ClusterJob(job)) for job in jobs]
        SweepCallback.jobs.update(folders)
        log.info("%d jobs; what they say is in %s", len(jobs), self.files)
        for name, job in zip(folders, submitted, strict=True):
            log.info("job %s: %s", job.job_id, name.name)
        returns = [job.returned(None) for job in jobs]

        def ended(place: int, value: float | None) -> None:
            report_job(folders[place], killed=value is None, with_reason=True)
            returns[place] = jobs[place].returned(value)

        waiting = dict(enumerate(submitted))
        with signals_raise_stopped():
            try:
                self.wait(waiting, ended)
            except Stopped:
                self.stop(waiting, ended)
                raise
        return returns

    def executor(self) -> "AutoExecutor":
        """What takes the jobs, set as `hydra.launcher` says."""
        import submitit

        limit = {} if self._max_num_timeout is None else {f"{self.cluster}_max_num_timeout": self._max_num_timeout}
        executor = submitit.AutoExecutor(self.files, self.cluster, **limit)
        settings = {**self.parameters, **self.more_parameters()}
        executor.update_parameters(**{f"{self.cluster}_{key}": value for key, value in settings.items()})
        return executor

    def more_parameters(self) -> dict[str, Any]:
        """What the jobs need and `hydra.launcher` does not say."""
        return {}

    def wait(self, waiting: "Waiting", ended: Callable[[int, float | None], None]) -> None:
        """Tell of every job as it ends, its place and what it returned: None if it did not come that far."""
        while waiting:
            for place in [place for place, job in waiting.items() if job.done()]:
                ended(place, self.returned(waiting.pop(place)))
            if waiting:
                time.sleep(self.look_every)

    def returned(self, job: "Job[float]") -> float | None:
        import submitit

        if self.cluster == "local" and not job.task(0).paths.result_pickle.exists():
            return None  # where submitit would wait for a slow network
        try:
            return job.task(0).result()
        except submitit.core.utils.UncompletedJobError:
            return None

    @abstractmethod
    def submitting(self, jobs: int) -> AbstractContextManager[None]:
        """What surrounds the submission of so many jobs."""

    @abstractmethod
    def stop(self, waiting: "Waiting", ended: Callable[[int, float | None], None]) -> None:
        """What becomes of the jobs when the launcher is stopped."""
