"""What signals do while something is under way that must be put in order first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from charrnn.utils.errors import Stopped

# Ctrl-C, `kill`, and what schedulers send some time before they end a job.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class _Noting:
    """A handler that disturbs nothing."""

    def __init__(self) -> None:
        self.received: list[int] = []

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        self.received.append(signum)


class _Raising(_Noting):
    def __call__(self, signum: int, frame: FrameType | None) -> None:
        super().__call__(signum, frame)
        raise Stopped(signum)


def is_passed_by(signum: int) -> bool:
    """Tell whether it is a SIGTERM that submitit handles already, and that therefore stops nothing.

    Slurm sends it ahead of SIGKILL: a job that it is about to requeue must not have ended by itself until then.
    """
    handler = signal.getsignal(signum)
    return signum == signal.SIGTERM and callable(handler) and not isinstance(handler, _Noting)


@contextmanager
def signals_raise_stopped() -> Iterator[None]:
    """Within the block the STOPPING signals raise `Stopped`, so that what is under way can be put in order.

    Also where a library that was disturbed in the middle of its work made another exception of it.
    """
    raising = _Raising()
    try:
        with _handled(raising):
            yield
    except Exception as error:
        if raising.received:
            raise Stopped(raising.received[0]) from error
        raise


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Within the block the STOPPING signals disturb nothing; the list that it gives has those that came."""
    noting = _Noting()
    with _handled(noting):
        yield noting.received


@contextmanager
def _handled(handler: _Noting) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python lets no other thread handle signals
        yield
        return
    before = {signum: signal.signal(signum, handler) for signum in STOPPING if not is_passed_by(signum)}
    try:
        yield
    finally:
        for signum, former in before.items():
            signal.signal(signum, former)
