"""The commands of the README, in its order, in a copy of the project; only the number of steps is small."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("project")
    for folder in ("conf", "src", "scripts"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "train.py", copy)
    return copy


def test_the_readme_shows_what_this_test_runs() -> None:
    assert COMMANDS[0] == "scripts/train.sh"
    assert len(COMMANDS) == 10
    assert len(README.splitlines()) <= 150


def test_the_commands_run(project: Path, text_file: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(project / "src")}
    for written in COMMANDS:
        if "tensorboard" in written:
            continue  # it serves until it is stopped
        command = written.replace("scripts/train.sh", "python train.py")  # no test makes a virtual environment
        if command.startswith("python train.py"):
            command += " trainer.max_steps=20"
        if "shakespeare" in command or " -m " in command:
            command += f" data.path={text_file} data.sha256=null"  # no network in a test; many jobs on a small text
        done = subprocess.run(
            command, shell=True, cwd=project, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, f"{written}\n{done.stdout}\n{done.stderr}"
        assert done.stdout
    runs = [path.name for path in (project / "outputs").iterdir()]
    assert len(runs) == 4
    (sweep,) = (project / "outputs").glob("sweep_*")
    assert len(list(sweep.glob("*/summary.json"))) == 6


def test_the_python_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the ")
    assert " fox " in done.stdout or " dog" in done.stdout or " quick " in done.stdout
