"""A job of a sweep within submitit's job: told that its time is over it is saved, queued again, and goes on."""

import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from charrnn.errors import EXIT_FAILED, Stopped
from charrnn.jobs import SweepJob
from charrnn.runs import read_summary

if TYPE_CHECKING:  # an extra
    from submitit.helpers import DelayedSubmission


@dataclass(frozen=True)
class ClusterJob:
    """What submitit calls, and calls anew when the job was ended before its time."""

    job: SweepJob
    requeued: bool = False

    def __call__(self) -> float:
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":
            os.setpgrp()  # Ctrl-C on the terminal reaches the waiting process alone, which sends SIGTERM
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit passes it by, which is right under Slurm only
        restarts = os.environ.get("SLURM_RESTART_COUNT", "0")  # also those that submitit knows nothing of
        try:
            value = self.job.run(restarted=self.requeued or restarts != "0")
        except Stopped as stop:
            return _requeue_or_exit(stop)
        if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and read_summary(self.job.folder)["status"] == "failed":
            sys.exit(EXIT_FAILED)  # else the other tasks would wait for this one
        return value

    def checkpoint(self) -> "DelayedSubmission":
        """What submitit shall call the next time."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(replace(self, requeued=True))


def _requeue_or_exit(stop: Stopped) -> float:
    """Now that the run is saved, leave the signal to submitit if it is the one that it requeues upon."""
    requeue = signal.getsignal(stop.signum)
    if stop.signum == signal.SIGINT or not callable(requeue):
        sys.exit(stop.exit_code)
    try:
        requeue(stop.signum, None)  # does not return in the first task of a job
    except subprocess.CalledProcessError:  # Slurm refuses, since it is requeueing the job by itself
        sys.exit(stop.exit_code)
    return math.nan  # a bad exit of another task might end the first one before it has requeued the job
