import pytest

from charrnn.errors import RequestError
from charrnn.overrides import check_command_line, request_line


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["a=1", "-m", "b=1,2"], ["-m", "a=1", "b=1,2"]),
        (["-m", "a=1,2"], ["-m", "a=1,2"]),
        (["a=1", "--config-name", "other", "b=2"], ["--config-name", "other", "a=1", "b=2"]),
        (["a=1", "~b", "+c=[1,2]"], ["a=1", "~b", "+c=[1,2]"]),
        ([], []),
    ],
)
def test_flags_come_first(typed: list[str], read: list[str]) -> None:
    assert check_command_line(typed) == read


def test_unknown_flags_are_refused() -> None:
    with pytest.raises(RequestError, match="unrecognized arguments: --hidden; settings are written key=value"):
        check_command_line(["--hidden", "3"])


def test_a_fault_of_the_program_has_no_request_line() -> None:
    for fault in (KeyError("x"), ValueError("x"), RuntimeError("x")):
        try:
            raise fault
        except Exception as error:
            assert request_line(error) is None
    assert request_line(RequestError("wanted a, got b")) == "wanted a, got b"
