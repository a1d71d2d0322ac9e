import os
import signal
from contextlib import suppress

import pytest

from charrnn.utils import signals
from charrnn.utils.errors import Stopped


@pytest.mark.parametrize("signum", signals.STOP_SIGNALS)
def test_signals_raise_stopped_within_the_block_only(signum: int) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(Stopped) as stop, signals.signals_raise_stopped():
        os.kill(os.getpid(), signum)
    assert stop.value.exit_code == 128 + signum
    assert str(stop.value) == signal.Signals(signum).name
    assert signal.getsignal(signum) is before


@pytest.mark.parametrize("signum", signals.STOP_SIGNALS)
def test_only_sigterm_is_left_to_an_existing_handler(signum: int) -> None:
    received: list[int] = []
    before = signal.signal(signum, lambda signum, frame: received.append(signum))
    try:
        with suppress(Stopped), signals.signals_raise_stopped(), signals.signals_raise_stopped():
            os.kill(os.getpid(), signum)
    finally:
        signal.signal(signum, before)
    assert received == ([signum] if signum == signal.SIGTERM else [])


def test_a_signal_is_recognized_behind_another_exception_of_a_library() -> None:
    def library() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise AttributeError("interrupted halfway")

    with pytest.raises(Stopped, match="SIGTERM"), signals.signals_raise_stopped():
        library()
    with pytest.raises(AttributeError), signals.signals_raise_stopped():
        raise AttributeError("an unrelated bug")


def test_signals_can_be_recorded_without_effect() -> None:
    before = signal.getsignal(signal.SIGINT)
    with signals.record_signals() as received:
        os.kill(os.getpid(), signal.SIGINT)
    assert received == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before
