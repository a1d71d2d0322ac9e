"""Ctrl-C while the program loads, or ends: 130, without a traceback; the first leaves nothing."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT

# Says when Python itself has started: a signal before that is Python's own affair.
PROGRAM = "import runpy, sys; print('started', flush=True); runpy.run_path(sys.argv[0], run_name='__main__')"
SECONDS = 2.0  # how long it takes to load everything, about
RUN = ("trainer.max_steps=100000", "callbacks=none", "threads=1")


def interrupted(folder: Path, seconds: float, script: str, *arguments: object) -> tuple[int, str, str]:
    """Start a script, press Ctrl-C after so many seconds, and return the exit code, stdout and stderr."""
    program = PROGRAM.replace("sys.argv[0]", repr(str(ROOT / script)), 1)
    path = f"import sys; sys.path.insert(0, {str((ROOT / script).parent)!r}); "
    command = [sys.executable, "-c", path + program, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=folder, start_new_session=True) as process:
        assert process.stdout and process.stdout.readline() == "started\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        try:
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()  # leaving this block waits for it
    return process.returncode, stdout, stderr


def check(folder: Path, seconds: float, script: str, *arguments: object) -> None:
    code, stdout, stderr = interrupted(folder, seconds, script, *arguments)
    assert (code, stderr) == (130, "")
    assert "Traceback" not in stdout and "cache stats" not in stdout
    if "stopped by" not in stdout:  # training had not begun
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_ctrl_c_while_train_loads(share: float, tmp_path: Path) -> None:
    check(tmp_path, share * SECONDS, "train.py", *RUN, f"hydra.run.dir={tmp_path / 'run'}")


def test_ctrl_c_while_a_sweep_loads(tmp_path: Path) -> None:
    check(tmp_path, 0.4 * SECONDS, "train.py", *RUN, "-m", "seed=1,2", f"hydra.sweep.dir={tmp_path / 'sweep'}")


def test_ctrl_c_while_a_script_loads(tmp_path: Path) -> None:
    check(tmp_path, 0.2 * SECONDS, "scripts/tune.py", "--trials", 1, "--folder", tmp_path / "search")


def test_ctrl_c_while_python_ends() -> None:
    """Python runs what libraries registered for its end, where an exception prints a traceback."""
    program = (
        "import atexit, os, signal, sys; from charrnn.utils.signals import ctrl_c_ends_imports; ctrl_c_ends_imports(); "
        "from charrnn.utils.cli import flushed; atexit.register(os.kill, os.getpid(), signal.SIGINT); "
        "sys.exit(flushed('train.py', 0))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.slow
def test_ctrl_c_at_thirty_moments(tmp_path: Path) -> None:
    for i in range(30):
        folder = tmp_path / str(i)
        folder.mkdir()
        check(folder, SECONDS * (i + 2) / 32, "train.py", *RUN, f"hydra.run.dir={folder / 'run'}")
