import pytest
from hydra.errors import MissingConfigException

from charrnn.utils.errors import RequestError
from charrnn.utils.hydra_errors import check_command_line, request_line


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["a=1", "-m", "b=1,2"], ["a=1", "b=1,2", "-m"]),
        (["a=1", "--config-name", "other", "b=2"], ["a=1", "b=2", "--config-name", "other"]),
        (["a=1", "~b", "+c=[1,2]"], ["a=1", "~b", "+c=[1,2]"]),
        ([], []),
    ],
)
def test_flags_come_last(typed: list[str], read: list[str]) -> None:
    assert check_command_line(typed) == read


def test_a_quoted_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    typed = ['hydra.run.dir="~/a b"', "hydra.sweep.dir='~/c'", 'x="~/d"', "hydra.run.dir=e"]
    read = ['hydra.run.dir="/home/me/a b"', 'hydra.sweep.dir="/home/me/c"', 'x="~/d"', "hydra.run.dir=e"]
    assert check_command_line(typed) == read


@pytest.mark.parametrize("fault", [KeyError("x"), ValueError("x"), RuntimeError("x")])
def test_a_fault_of_the_program_has_no_request_line(fault: Exception) -> None:
    assert request_line(fault) is None
    assert request_line(RequestError("wanted a, got b")) == "wanted a, got b"


@pytest.mark.parametrize(("launcher", "extra"), [("joblib", "sweep"), ("submitit_slurm", "cluster")])
def test_without_the_extra_the_launcher_names_it(launcher: str, extra: str) -> None:
    line = request_line(MissingConfigException("not found", f"hydra/launcher/{launcher}"))  # also below slurm_gpu
    install = f"Hydra's launcher {launcher} is not installed; pip install -e '.[{extra}]'"
    assert line == f"{install}, or leave it out: jobs then run one by one"
