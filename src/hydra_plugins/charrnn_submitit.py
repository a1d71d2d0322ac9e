"""Launchers in the place of those that hydra-submitit-launcher brings. Hydra takes launchers from here only."""

import io
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, Any

from charrnn.errors import RequestError, one_line
from charrnn.process import default_threads
from charrnn.signals import interrupts_ignored
from charrnn.submission import SubmititLauncher
from charrnn.sweep import SweepCallback

if TYPE_CHECKING:
    from charrnn.submission import Waiting

log = logging.getLogger(__name__)


class LocalLauncher(SubmititLauncher):
    """All jobs at once on this machine, to try a sweep before it goes to a cluster; they end with the launcher."""

    cluster = "local"
    look_every = 0.2

    @contextmanager
    def submitting(self, jobs: int) -> Iterator[None]:
        from submitit.helpers import environment_variables

        # Else Ctrl-C kills the jobs after a second, unsaved.
        with interrupts_ignored(), environment_variables(OMP_NUM_THREADS=default_threads(jobs)):
            yield

    def stop(self, waiting: "Waiting", ended: Callable[[int, float | None], None]) -> None:
        for job in waiting.values():
            os.kill(int(job.job_id), signal.SIGTERM)
        self.wait(waiting, ended)


class SlurmLauncher(SubmititLauncher):
    """All jobs as one array of Slurm's; there they stay when the launcher is stopped."""

    cluster = "slurm"
    look_every = 2.0  # several files are looked at for every job, on a file system that all share

    def more_parameters(self) -> dict[str, Any]:
        processors = self.parameters.get("cpus_per_task")  # since 22.05 srun does not take it over from sbatch
        asked = [f"--cpus-per-task={processors}"] if processors else []
        return {"srun_args": ["--kill-on-bad-exit=1", *asked]}  # no process of a run waits for one that has failed

    @contextmanager
    def submitting(self, jobs: int) -> Iterator[None]:
        import submitit

        is_new = not self.files.exists()
        missing = [program for program in ("sbatch", "srun") if shutil.which(program) is None]
        if missing:
            raise RequestError(
                f"Slurm's {' and '.join(missing)} can't be found; begin the sweep on a machine of the cluster, "
                "or take hydra/launcher=joblib"
            )
        try:
            with redirect_stderr(io.StringIO()):  # submitit repeats there what its error says
                yield
        except submitit.core.utils.FailedJobError as error:
            if is_new:
                shutil.rmtree(self.files, ignore_errors=True)
            raise RequestError(f"Slurm did not take the jobs: {one_line(error)}") from error

    def stop(self, waiting: "Waiting", ended: Callable[[int, float | None], None]) -> None:
        SweepCallback.jobs.clear()  # those that are not finished are at work
        arrays = " ".join(sorted({job.job_id.split("_")[0] for job in waiting.values()}))
        log.info("%d jobs stay with Slurm; squeue --me shows them, scancel %s ends them", len(waiting), arrays)
