import importlib
import sys
from unittest.mock import Mock

import pytest

from charrnn.utils.cli import CommandParser
from charrnn.utils.errors import RequestError, RunFailed
from conftest import ROOT


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [(RequestError("wanted a,\n got b"), 2, "tool: wanted a, got b\n"), (KeyboardInterrupt(), 130, ""),
     (RunFailed("it diverged"), 1, "tool: it diverged\n"), (BrokenPipeError(), 141, ""),
     (PermissionError(13, "Denied", "f"), 2, "tool: f can't be used: Denied\n")],
)  # fmt: skip
def test_a_script_ends_with_the_exit_code_of_its_error(
    raised: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "argv", ["tool"])
    monkeypatch.syspath_prepend(ROOT / "scripts")
    run_script = importlib.import_module("entry").run_script
    with pytest.raises(SystemExit) as stop:
        run_script(Mock(side_effect=raised))
    assert (stop.value.code, capsys.readouterr().err) == (code, said)
    with pytest.raises(ZeroDivisionError):  # a bug keeps its traceback
        run_script(Mock(side_effect=ZeroDivisionError))


def test_an_invalid_command_line_gives_one_line() -> None:
    parser = CommandParser(prog="tool")
    parser.add_argument("--length", type=int)
    with pytest.raises(RequestError, match="invalid int value: 'abc'; tool --help lists the options"):
        parser.parse_args(["--length", "abc"])
