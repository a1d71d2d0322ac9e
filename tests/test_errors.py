import math
import os
import signal
import sys
from typing import Any

import pytest

from charrnn import errors
from charrnn.errors import RequestError, Stopped, exit_codes


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (RequestError("wanted a,\n got b"), 2, "tool: wanted a, got b\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_script_ends_with_its_code(
    raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop, exit_codes("tool"):
        raise raised
    assert stop.value.code == code
    assert capsys.readouterr().err == said


def test_a_reader_that_went_away_ends_it_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    with pytest.raises(SystemExit) as stop, exit_codes("tool"):
        raise BrokenPipeError
    assert stop.value.code == 141


def test_an_unknown_fault_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), exit_codes("tool"):
        raise ZeroDivisionError


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_raise_stopped_within_the_block_only(signum: int) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(Stopped) as stop, errors.signals_raise_stopped():
        os.kill(os.getpid(), signum)
    assert stop.value.exit_code == 128 + signum
    assert str(stop.value) == signal.Signals(signum).name
    assert signal.getsignal(signum) is before


def test_a_signal_is_told_from_what_a_library_makes_of_it() -> None:
    def library() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise AttributeError("half of it was done")

    with pytest.raises(Stopped, match="SIGTERM"), errors.signals_raise_stopped():
        library()
    with pytest.raises(AttributeError), errors.signals_raise_stopped():
        raise AttributeError("a fault of its own")


def test_signals_may_be_noted_and_disturb_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    with errors.signals_noted() as received:
        os.kill(os.getpid(), signal.SIGINT)
    assert received == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, True, math.nan])
def test_what_is_no_positive_integer(value: Any) -> None:
    with pytest.raises(RequestError, match="n must be a positive integer, got"):
        errors.require_integer("n", value)


@pytest.mark.parametrize("value", [-0.1, 1.0, "0.5", None, False, math.nan])
def test_what_is_no_number_in_range(value: Any) -> None:
    with pytest.raises(RequestError, match="x must be a number of at least 0 and below 1, got"):
        errors.require_number("x", value, 0.0, below=1.0)


def test_what_is_in_range_comes_back() -> None:
    assert errors.require_integer("n", 0, minimum=0) == 0
    assert errors.require_number("x", 0, 0.0) == 0.0
    assert errors.require_choice("c", "a", ("a", "b")) == "a"


def test_a_wrong_command_line_of_a_script_is_one_line() -> None:
    parser = errors.CommandParser(prog="tool")
    parser.add_argument("--length", type=int)
    with pytest.raises(RequestError, match="invalid int value: 'abc'; tool --help lists what there is"):
        parser.parse_args(["--length", "abc"])
