import pytest
from hydra.errors import MissingConfigException

from charrnn.utils.errors import RequestError
from charrnn.utils.hydra_errors import check_command_line, check_options, request_line


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


@pytest.mark.parametrize("bug", [KeyError("x"), ValueError("x"), RuntimeError("x")])
def test_a_bug_has_no_request_line(bug: Exception) -> None:
    assert request_line(bug) is None
    assert request_line(RequestError("wanted a, got b")) == "wanted a, got b"


@pytest.mark.parametrize(("launcher", "extra"), [("joblib", "sweep"), ("submitit_slurm", "cluster")])
def test_a_missing_launcher_names_its_extra(launcher: str, extra: str) -> None:
    line = request_line(MissingConfigException("not found", f"hydra/launcher/{launcher}"))  # also below slurm_gpu
    advice = f"run pip install -e '.[{extra}]', or remove hydra/launcher to run the jobs one by one"
    assert line == f"Hydra's launcher {launcher} is not installed; {advice}"


@pytest.mark.parametrize(
    "typed",
    ["model=gru", "logger=[csv,wandb]", "model={hidden: 3}", "model=glob(*)", "model=1x", "~model", "seed=null", "=3"],
)
def test_names_of_options_and_settings_are_left_to_hydra(typed: str) -> None:
    check_options([typed])


@pytest.mark.parametrize(
    "typed", ["logger=null", "+logger=null", "logger=[csv,null]", "logger=csv,null", "hydra/launcher=3"]
)
def test_a_value_of_a_group_that_is_no_name_is_refused_with_the_names(typed: str) -> None:
    with pytest.raises(RequestError, match=r"(logger|hydra/launcher)=\S+ does not exist; \1 must be one of \w+, \w+"):
        check_options([typed])
