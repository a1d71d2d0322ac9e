"""The lesson docs/inside-the-rnn.md: its code prints what it says, and it points at what is there.

The batch file of docs/scaling.md, with programs in the place of Slurm's and Python's.
"""

import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from conftest import ROOT, call, composed

DOCS = ROOT / "docs"
FILE = DOCS / "inside-the-rnn.md"
LESSON = FILE.read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```$)?", LESSON, re.DOTALL | re.MULTILINE)
COMMANDS = [shlex.split(line) for line in re.findall(r"^ +`python (.*)`$", LESSON, re.MULTILINE)]
SCALING = (DOCS / "scaling.md").read_text("utf-8")
(BATCH_FILE,) = re.findall(r"^```bash\n(.*?)^```$", SCALING, re.DOTALL | re.MULTILINE)
PROGRAMS = {
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    "python": 'echo "python $*" >>"$CALLS"; exit "$CODE"',
    "scontrol": 'echo "scontrol $*" >>"$CALLS"',
}


def test_the_code_prints_what_the_lesson_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "docs" / "images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)  # the pictures of the repository stay as they are
    names: dict[str, Any] = {}
    assert len(BLOCKS) == LESSON.count("```python")
    with np.printoptions():
        for code, expected in BLOCKS:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, FILE.name, "exec"), names)
            assert printed.getvalue() == expected, code
    drawn = {path.name for path in (tmp_path / "docs" / "images").iterdir()}
    assert drawn == {path.name for path in (DOCS / "images").glob("inside-*.png")}
    assert drawn == set(re.findall(r"!\[.+\]\(images/(.+)\)", LESSON))


def test_the_code_it_points_at_is_there() -> None:
    rows = re.findall(r"^\|[^|]+\| (`.+\.py`) \| (`.+`) \|$", LESSON, re.MULTILINE)
    assert len(rows) == 9
    for files, names in rows:
        paths = [Path(charrnn.__file__).parent / file for file in re.findall("`(.+?)`", files)]
        code = "".join(path.read_text("utf-8") for path in paths)
        for name in re.findall("`(.+?)`", names):
            assert re.search(rf"^ *(def|class) {name}\b", code, re.MULTILINE), name


def test_its_exercises_use_settings_and_options_that_exist() -> None:
    assert len(COMMANDS) == 5
    for script, *arguments in COMMANDS:
        if script == "train.py":
            composed(*(argument.split(",")[0] for argument in arguments if argument != "-m"))
        else:
            explained = call(script, "--help").stdout
            for option in filter(re.compile("--").match, arguments):
                assert re.search(rf"{option}\b", explained), option


@pytest.mark.parametrize("code", [0, 1, 128 + signal.SIGUSR1, 128 + signal.SIGTERM])
def test_a_job_whose_time_is_over_is_queued_again(code: int, tmp_path: Path) -> None:
    for name, program in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{program}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "job.sh").write_text(BATCH_FILE)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    calls = tmp_path / "calls"
    environment = {"PATH": path, "CALLS": str(calls), "CODE": str(code), "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", str(tmp_path / "job.sh")], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (code, b"")
    trained, *requeued = calls.read_text().splitlines()
    assert requeued == (["scontrol requeue 7"] if code == 138 else [])
    assert trained.endswith(" resume_from=last")
    composed(*shlex.split(BATCH_FILE.split("train.py")[1].splitlines()[0]))
