"""Handle signals in a block of code that must clean up before the process ends."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from charrnn.utils.errors import Stopped

# Ctrl-C, `kill`, and the warnings that schedulers send before they end a job.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class _Recorder:
    """A signal handler that only records the signals."""

    def __init__(self) -> None:
        self.received: list[int] = []

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.received.append(signum)


class _Raiser(_Recorder):
    def __call__(self, signum: int, frame: FrameType | None) -> None:
        super().__call__(signum, frame)
        raise Stopped(signum)


def is_left_to_submitit(signum: int) -> bool:
    """Return whether submitit already handles this signal (a SIGTERM), so that it must not stop the run.

    Slurm sends SIGTERM before SIGKILL. A job that Slurm will requeue must not end by itself before SIGKILL.
    """
    handler = signal.getsignal(signum)
    return signum == signal.SIGTERM and callable(handler) and not isinstance(handler, _Recorder)


@contextmanager
def signals_raise_stopped() -> Iterator[None]:
    """Make the STOP_SIGNALS signals raise `Stopped` within the block.

    If a library turns that into another exception, `Stopped` is raised from it.
    """
    handler = _Raiser()
    try:
        with _handled(handler):
            yield
    except Exception as error:
        if handler.received:
            raise Stopped(handler.received[0]) from error
        raise


@contextmanager
def record_signals() -> Iterator[list[int]]:
    """Record the STOP_SIGNALS signals within the block instead of acting on them; yield the list of those received."""
    handler = _Recorder()
    with _handled(handler):
        yield handler.received


@contextmanager
def _handled(handler: _Recorder) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python handles signals only in the main thread
        yield
        return
    previous = {signum: signal.signal(signum, handler) for signum in STOP_SIGNALS if not is_left_to_submitit(signum)}
    try:
        yield
    finally:
        for signum, previous_handler in previous.items():
            signal.signal(signum, previous_handler)
