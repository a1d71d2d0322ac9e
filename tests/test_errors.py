import importlib
import math
import sys
from unittest.mock import Mock

import pytest

from charrnn import errors
from charrnn.errors import RequestError, RunFailed
from conftest import ROOT


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [(RequestError("wanted a,\n got b"), 2, "tool: wanted a, got b\n"), (KeyboardInterrupt(), 130, ""),
     (RunFailed("it diverged"), 1, "tool: it diverged\n"), (BrokenPipeError(), 141, ""),
     (PermissionError(13, "Denied", "f"), 2, "tool: f can't be used: Denied\n")],
)  # fmt: skip
def test_a_script_ends_with_its_code(
    raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "argv", ["tool"])
    monkeypatch.syspath_prepend(ROOT / "scripts")
    run_script = importlib.import_module("entry").run_script
    with pytest.raises(SystemExit) as stop:
        run_script(Mock(side_effect=raised))
    assert (stop.value.code, capsys.readouterr().err) == (code, said)
    with pytest.raises(ZeroDivisionError):  # an unknown fault keeps its traceback
        run_script(Mock(side_effect=ZeroDivisionError))


def test_what_is_in_range_comes_back_and_all_else_is_refused() -> None:
    assert errors.require_integer("n", 0, minimum=0) == 0
    assert errors.require_number("x", 0, 0.0) == 0.0
    assert errors.require_choice("c", "a", ("a", "b")) == "a"
    for value in (0, -1, 1.0, "3", None, True, math.nan):
        with pytest.raises(RequestError, match="n must be a positive integer, got"):
            errors.require_integer("n", value)
    for value in (-0.1, 1.0, "0.5", None, False, math.nan):
        with pytest.raises(RequestError, match="x must be a number of at least 0 and below 1, got"):
            errors.require_number("x", value, 0.0, below=1.0)


def test_a_wrong_command_line_of_a_script_is_one_line() -> None:
    parser = errors.CommandParser(prog="tool")
    parser.add_argument("--length", type=int)
    with pytest.raises(RequestError, match="invalid int value: 'abc'; tool --help lists what there is"):
        parser.parse_args(["--length", "abc"])
