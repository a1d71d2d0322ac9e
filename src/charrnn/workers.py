"""Processes that work side by side; one that is killed takes no other along, and Ctrl-C ends them all."""

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from charrnn.errors import Stopped
from charrnn.signals import interrupts_ignored, signals_raise_stopped


class Worker:
    """A process that does one task after the other, so that it loads torch only once."""

    def __init__(self, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads))
        with interrupts_ignored():  # a Python that is just starting would print a traceback
            self.process.start()
        theirs.close()  # then the connection ends with the process

    def begin(self, task: bytes) -> None:
        """Hand over a task; what becomes of it is for `result` to tell."""
        with suppress(OSError):  # it was killed while it waited
            self.connection.send_bytes(task)

    def result(self) -> Any:
        """The result of the task; None if the process has ended before."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            return None


def run_tasks(tasks: Sequence[bytes], at_once: int, threads: int, ended: Callable[[int, Any], None]) -> None:
    """Do all tasks, pickled pairs of a function and its arguments, `at_once` at a time, each with so many threads.

    `ended` hears of every task, as it ends, its place and its result: None if its process was killed, or stopped by a
    signal of its own. Ctrl-C and SIGTERM send SIGTERM to the processes, and raise `Stopped` when all have ended; the
    second time they are killed.
    """
    waiting = deque(enumerate(tasks))
    workers: list[Worker] = []
    at_work: dict[Connection, tuple[Worker, int]] = {}
    try:
        with signals_raise_stopped():
            try:
                while waiting or at_work:
                    while waiting and len(at_work) < at_once:
                        worker = _idle(workers, at_work, threads)
                        place, task = waiting.popleft()
                        at_work[worker.connection] = (worker, place)
                        worker.begin(task)
                    ready = wait(list(at_work))
                    for connection in [connection for connection in at_work if connection in ready]:
                        worker, place = at_work[connection]
                        result = worker.result()
                        del at_work[connection]
                        ended(place, result)
            except Stopped:
                _stop(workers)
                raise
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.join()


def _idle(workers: list[Worker], at_work: dict[Connection, tuple[Worker, int]], threads: int) -> Worker:
    """A worker without a task, a new one if there is none."""
    for worker in workers:
        if worker.connection not in at_work and worker.process.is_alive():
            return worker
    workers.append(Worker(threads))
    return workers[-1]


def _stop(workers: list[Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.connection.close()  # one that has just done its task waits for no other
        worker.process.join()


def _serve(connection: Connection, threads: int) -> None:
    """Do what comes over the connection, until it ends."""
    os.setpgrp()  # Ctrl-C on the terminal reaches the parent alone, which stops all, those that just start too
    when_parent_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # before torch and NumPy are loaded
    sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # several progress bars on one line are none
    with suppress(EOFError, OSError, Stopped):
        while True:
            function, arguments = pickle.loads(connection.recv_bytes())
            connection.send(function(*arguments))
    sys.stdout.flush()
    os._exit(0)  # Python's own end takes a second once torch is loaded, and all is in order


def when_parent_ends(act: Callable[[], None]) -> None:
    """Let a thread call `act` once the process that has started this one is there no more."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait_and_act() -> None:
        parent.join()
        act()

    threading.Thread(target=wait_and_act, daemon=True).start()
