import os
import pickle
import signal
import threading
import time
from typing import Any

import pytest

from charrnn.errors import Stopped
from charrnn.workers import run_tasks


def packed(function: Any, *arguments: Any) -> bytes:
    return pickle.dumps((function, arguments))


def done(tasks: list[bytes], at_once: int = 2, threads: int = 1) -> dict[int, Any]:
    results: dict[int, Any] = {}
    run_tasks(tasks, at_once, threads, results.__setitem__)
    return results


def kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_does_one_task_after_the_other_with_its_share_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    results = done([packed(os.getpid)] * 4 + [packed(os.getenv, "OMP_NUM_THREADS")], threads=3)
    assert results.pop(4) == "3"
    assert len(set(results.values())) <= 2
    assert os.getpid() not in results.values()


def test_one_that_is_killed_takes_no_other_along() -> None:
    tasks = [packed(pow, 2, place) for place in range(5)]
    tasks[1] = tasks[3] = packed(kill_oneself)
    assert done(tasks) == {0: 1, 1: None, 2: 4, 3: None, 4: 16}
    assert done([packed(kill_oneself)] * 2, at_once=1) == {0: None, 1: None}


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_and_begins_no_other(signum: int) -> None:
    threading.Timer(1, os.kill, (os.getpid(), signum)).start()
    began = time.monotonic()
    with pytest.raises(Stopped) as stop:
        done([packed(time.sleep, 60)] * 3)
    assert stop.value.exit_code == 128 + signum
    assert time.monotonic() - began < 30
