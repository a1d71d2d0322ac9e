"""scripts/train.sh and scripts/test.sh, with stand-ins for Python that only record their calls."""

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a copy of the scripts."""
    root = tmp_path / "a project"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root / name)
    return root


def stand_in(path: Path, version: str, *, installs: bool = True) -> None:
    """Write a fake Python of the given version that records its calls and can create a virtual environment."""
    major, minor, _ = version.split(".")
    supported = (3, 11) <= (int(major), int(minor)) <= (3, 13)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""#!/bin/sh
case "$*" in
    *sys.exit*) exit {0 if supported else 1} ;;
    *print*) echo {version} ;;
    *"-m venv"*) for last; do :; done; mkdir -p "$last/bin"; cp "$0" "$last/bin/python"; touch "$last/pyvenv.cfg"
        echo made >>"$CALLS" ;;
    *"pip --version"*) [ -e "$(dirname "$0")/../pyvenv.cfg" ] ;;
    *"pip install"*) echo "installed $*" >>"$CALLS"; exit {0 if installs else 1} ;;
    *) echo "ran $*" >>"$CALLS" ;;
esac
"""
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def call(project: Path, script: str, *arguments: str, **environment: str) -> tuple[int, str, list[str]]:
    calls = project / "calls"
    calls.unlink(missing_ok=True)
    done = subprocess.run(
        ["/bin/bash", str(project / "scripts" / script), *arguments],
        env={"PATH": f"{project / 'bin'}:/usr/bin:/bin", "CALLS": str(calls), **environment},
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr, calls.read_text().splitlines() if calls.exists() else []


def test_the_first_call_installs_and_the_second_starts_at_once(project: Path) -> None:
    stand_in(project / "bin" / "python3", "3.12.1")
    code, _, calls = call(project, "train.sh", "model.hidden=64")
    assert code == 0
    assert calls[0] == "made"
    assert calls[1].endswith("-e .[plots] -c constraints.txt")
    assert calls[2] == f"ran {project}/train.py model.hidden=64"
    assert call(project, "train.sh", "seed=2") == (0, "", [f"ran {project}/train.py seed=2"])
    code, _, calls = call(project, "test.sh", "-x")  # the tests have more dependencies; the environment is kept
    assert [line.split()[0] for line in calls] == ["installed", "ran"]
    assert "-e .[test] -c constraints.txt" in calls[0]
    assert re.fullmatch(r"ran -m pytest --numprocesses=[234] --dist=loadfile --no-loadscope-reorder -x", calls[1])
    assert call(project, "train.sh")[2] == [f"ran {project}/train.py"]


def test_new_requirements_are_installed(project: Path) -> None:
    stand_in(project / "bin" / "python3", "3.11.0")
    call(project, "train.sh")
    with (project / "constraints.txt").open("a") as file:
        file.write("another==1.0\n")
    _, _, calls = call(project, "train.sh")
    assert [line.split()[0] for line in calls] == ["installed", "ran"]


def test_an_interrupted_installation_is_repeated(project: Path) -> None:
    stand_in(project / "bin" / "python3", "3.11.0", installs=False)
    code, stderr, calls = call(project, "train.sh")
    assert code == 2
    assert "the installation failed" in stderr.splitlines()[-1]
    assert not any(line.startswith("ran") for line in calls)
    code, _, calls = call(project, "train.sh")
    assert code == 2
    assert [line.split()[0] for line in calls] == ["installed"]

    (project / ".venv" / "pyvenv.cfg").unlink()  # interrupted even earlier
    (project / ".venv" / "bin" / "python").unlink()
    shutil.rmtree(project / ".venv" / "bin")
    stand_in(project / "bin" / "python3", "3.11.0")
    code, _, calls = call(project, "train.sh")
    assert code == 0
    assert [line.split()[0] for line in calls] == ["made", "installed", "ran"]


@pytest.mark.parametrize("version", ["3.10.9", "3.14.0", "2.7.18"])
def test_an_unsupported_python_is_refused(project: Path, version: str) -> None:
    for name in ("python3", "python3.13", "python3.12", "python3.11", "python"):
        stand_in(project / "bin" / name, version)
    for environment in ({}, {"PYTHON": str(project / "bin" / "python3")}):
        code, stderr, calls = call(project, "train.sh", **environment)
        assert code == 2
        assert stderr.count("\n") == 1
        assert stderr.startswith("train.sh: Python 3.11, 3.12 or 3.13 is needed, found ")
        assert version in stderr
        assert calls == []
    assert not (project / ".venv").exists()


def test_the_first_supported_python_is_used(project: Path) -> None:
    stand_in(project / "bin" / "python3", "3.14.0")
    stand_in(project / "bin" / "python3.13", "3.13.2")
    code, stderr, calls = call(project, "train.sh")
    assert code == 0
    assert "with Python 3.13.2" in stderr
    assert calls[0] == "made"


def test_other_folders_named_venv_are_left_alone(project: Path) -> None:
    stand_in(project / "bin" / "python3", "3.12.0")
    (project / ".venv").mkdir()
    (project / ".venv" / "thesis.txt").write_text("three years of work")
    code, stderr, _ = call(project, "train.sh")
    assert code == 2
    assert "is not a virtual environment; move it away" in stderr
    assert (project / ".venv" / "thesis.txt").exists()


def test_an_environment_of_an_unsupported_python_is_refused(project: Path) -> None:
    stand_in(project / ".venv" / "bin" / "python", "3.14.0")
    (project / ".venv" / "pyvenv.cfg").touch()
    stand_in(project / "bin" / "python3", "3.12.0")
    code, stderr, _ = call(project, "train.sh")
    assert code == 2
    assert "has Python 3.14.0, but 3.11 to 3.13 is needed; remove" in stderr
