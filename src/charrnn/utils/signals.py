"""Handle signals in a block of code that must clean up before the process ends."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from charrnn.utils.errors import Stopped

# Ctrl-C, `kill`, and the warnings that schedulers send before they end a job.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
IMPORT_FILE = "<frozen importlib._bootstrap>"  # where Python says that the code of its import system is


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


class _Ender(_Recorder):
    """A signal handler that calls `clean_up` with the exit code, and ends the process."""

    def __init__(self, clean_up: Callable[[int], object]) -> None:
        super().__init__()
        self._clean_up = clean_up

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        try:
            self._clean_up(128 + signum)
        finally:
            os._exit(128 + signum)


def _owns_process() -> bool:
    """Return whether a signal may end the process: not that of a notebook, which replaces stdout."""
    return sys.stdout is sys.__stdout__


def ctrl_c_ends_imports() -> None:
    """Let Ctrl-C end the process silently if it comes amid an import, from now on; else it raises `KeyboardInterrupt`.

    An exception amid an import leaves half a module behind; what uses it then fails with pages of tracebacks.
    """
    if _owns_process() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end_or_interrupt)


def ctrl_c_ends_process() -> None:
    """Let Ctrl-C end the process silently from now on: at its end, where Python would print a traceback."""
    if _owns_process() and signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end_or_interrupt):
        signal.signal(signal.SIGINT, lambda signum, frame: os._exit(128 + signum))


def _end_or_interrupt(signum: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename == IMPORT_FILE:
            os._exit(128 + signum)
        frame = frame.f_back
    raise KeyboardInterrupt


@contextmanager
def signals_end_process(clean_up: Callable[[int], object]) -> Iterator[None]:
    """Within the block, which imports, let the STOP_SIGNALS signals call `clean_up(exit code)` and end the process."""
    if not _owns_process():
        yield
        return
    with _handled(_Ender(clean_up)):
        yield


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
