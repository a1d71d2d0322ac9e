import math
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from charrnn.cluster_job import ClusterJob
from charrnn.errors import Stopped
from charrnn.runs import write_summary


class Job:
    """In the place of a sweep's job: stopped by a signal, or done."""

    def __init__(self, stopped_by: int | None = None) -> None:
        self.stopped_by = stopped_by
        self.restarted: bool | None = None
        self.folder = Path()

    def run(self, *, restarted: bool) -> float:
        self.restarted = restarted
        if self.stopped_by is not None:
            raise Stopped(self.stopped_by)
        return 2.5


def cluster_job(job: Job, **settings: Any) -> ClusterJob:
    return ClusterJob(job, **settings)  # type: ignore[arg-type]


@pytest.fixture
def received() -> Iterator[list[int]]:
    """The signals that submitit is left, in a list; its handler returns, as in all tasks but the first."""
    received: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda signum, frame: received.append(signum))
    yield received
    signal.signal(signal.SIGUSR2, before)


def test_the_signal_goes_to_submitit_once_the_run_is_saved(received: list[int]) -> None:
    assert math.isnan(cluster_job(Job(signal.SIGUSR2))())
    assert received == [signal.SIGUSR2]
    assert cluster_job(Job())() == 2.5
    assert len(received) == 1


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_another_signal_ends_the_job(signum: int, received: list[int]) -> None:
    with pytest.raises(SystemExit) as end:
        cluster_job(Job(signum))()
    assert end.value.code == 128 + signum
    assert not received


def test_where_slurm_requeues_by_itself_the_job_just_ends() -> None:
    def refused(*arguments: object) -> NoReturn:
        raise subprocess.CalledProcessError(1, "scontrol")

    before = signal.signal(signal.SIGUSR2, refused)
    try:
        with pytest.raises(SystemExit):
            cluster_job(Job(signal.SIGUSR2))()
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_one_that_was_begun_before_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    first, again, by_slurm = Job(), Job(), Job()
    cluster_job(first)()
    cluster_job(again).checkpoint().result()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    cluster_job(by_slurm)()
    assert (first.restarted, again.restarted, by_slurm.restarted) == (False, True, True)


def test_a_failed_run_of_several_tasks_ends_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job()
    job.folder = tmp_path
    write_summary(tmp_path, {"status": "failed"})
    assert cluster_job(job)() == 2.5
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(SystemExit):
        cluster_job(job)()
    write_summary(tmp_path, {"status": "finished"})
    assert cluster_job(job)() == 2.5
