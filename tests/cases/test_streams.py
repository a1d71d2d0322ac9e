"""Standard streams that are closed, full, or replaced, as in a notebook."""

import contextlib
import io
import logging
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.export.arrays import to_numpy
from charrnn.runs.folder import read_summary
from charrnn.runs.load import load_network
from charrnn.utils import streams
from conftest import ROOT, Called, mostly_slow, start, train_here

SMALL = (
    "model.hidden=4", "data.batch_size=4", "data.sequence_length=8", "threads=1", "trainer.accelerator=cpu",
    "trainer.max_steps=4", "trainer.val_check_interval=2", "callbacks=none",
)  # fmt: skip
# Runs a script with streams as Python has them if a shell closed them (`>&-`), or if a disk is full (`>/dev/full`).
WRAPPER = """
import os, runpy, sys
closed, full, unbuffered, *sys.argv = sys.argv[1:]
kept = sys.stdin, sys.stdout, sys.stderr  # otherwise they would close their descriptors
for number in map(int, closed):
    os.close(number)
    setattr(sys, ("stdin", "stdout", "stderr")[number], None)
for number in map(int, full):
    os.dup2(os.open("/dev/full", os.O_WRONLY), number)
    setattr(sys, ("stdin", "stdout", "stderr")[number], os.fdopen(number, "w", buffering=1 if number == 2 else -1))
if unbuffered and sys.stdout:
    sys.stdout.reconfigure(write_through=True)
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
SCRIPTS = {  # what each script is called with, and whether all that it makes is printed
    "generate.py": ("--run {run} --length 20", True),
    "generate.py --json": ("--run {run} --length 20 --json --samples 2", True),
    "evaluate.py": ("--run {run}", True),
    "evaluate.py --surprisal": ("--run {run} --surprisal {out}", False),
    "show_checkpoint.py": ("--run {run}", True),
    "compare.py": ("{run}", True),
    "compare.py --out": ("{run} --out {out}", False),
    "play.py": ("{model} --length 20", True),
    "export.py": ("--run {run} --format html --out {out}", False),
    "visualize.py": ("--run {run} --characters 200 --out {out}", False),
    "tune.py --help": ("", False),
    "benchmark.py --help": ("", False),
}


@pytest.fixture(scope="module")
def run(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs") / "run"
    train_here(folder, *SMALL, "data=text", path=text_file)
    loaded = load_network(folder / "checkpoints" / "best.ckpt")
    (folder / "model.npz").write_bytes(to_numpy(loaded.network, loaded.vocabulary, {}))
    return folder


def command(
    folder: Path, script: str, *arguments: object, closed: str = "", full: str = "", unbuffered: bool = False
) -> Called:
    wrapper = folder / "wrapper.py"
    wrapper.write_text(WRAPPER)
    with start(str(wrapper), closed, full, "1" * unbuffered, ROOT / script, *arguments, cwd=folder) as process:
        stdout, stderr = process.communicate()
    assert process.returncode is not None
    return Called(process.returncode, stdout, stderr)


def script_command(folder: Path, run: Path, name: str, **state: Any) -> Called:
    script, *flags = name.split()
    places = {"run": run, "out": folder / "out.html", "model": run / "model.npz"}
    arguments = [word.format(**places) for word in SCRIPTS[name][0].split()]
    return command(folder, f"scripts/{script}", *(flags if "--help" in flags else []), *arguments, **state)


@pytest.mark.parametrize("closed", mostly_slow(["012", "1", "2", "12"]))
def test_8_training_works_with_closed_streams(closed: str, text_file: Path, tmp_path: Path) -> None:
    typed = [*SMALL, "data=text", f"data.path={text_file}", f"hydra.run.dir={tmp_path / 'run'}"]
    done = command(tmp_path, "train.py", *typed, closed=closed)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("validation  " in done.stdout) == ("1" not in closed)
    log = (tmp_path / "run" / "train.log").read_text()
    assert "4  val " in log and "more text" in log
    assert read_summary(tmp_path / "run")["status"] == "finished"


@pytest.mark.parametrize("unbuffered", mostly_slow([False, True]))
@pytest.mark.parametrize("full", mostly_slow(["1", "2", "12"]))
def test_8_training_goes_on_if_the_disk_of_its_output_is_full(
    full: str, unbuffered: bool, text_file: Path, tmp_path: Path
) -> None:
    typed = [*SMALL, "data=text", f"data.path={text_file}", f"hydra.run.dir={tmp_path / 'run'}"]
    done = command(tmp_path, "train.py", *typed, full=full, unbuffered=unbuffered)
    assert done.returncode == 0
    assert done.stderr in ("", "train.py: stdout can't be written: No space left on device\n")
    assert "more text" in (tmp_path / "run" / "train.log").read_text()


def test_8_a_refused_command_keeps_its_exit_code_without_streams(tmp_path: Path) -> None:
    for script, typed in (("train.py", "seed=x"), ("scripts/generate.py", "--rum")):
        assert command(tmp_path, script, typed, closed="012").returncode == 2


@pytest.mark.parametrize("name", mostly_slow(SCRIPTS, 2))
def test_8_scripts_with_a_closed_stdout(name: str, run: Path, tmp_path: Path) -> None:
    done = script_command(tmp_path, run, name, closed="1")
    if SCRIPTS[name][1]:
        assert done.returncode == 2
        assert done.stderr.startswith(f"{name.split()[0]}: stdout is closed, but the ")
        assert done.stderr.count("\n") == 1
        assert script_command(tmp_path, run, name, closed="12").returncode == 2
    else:
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unbuffered", mostly_slow([False, True]))
@pytest.mark.parametrize("name", mostly_slow(SCRIPTS, 4))
def test_8_scripts_with_a_full_disk(name: str, unbuffered: bool, run: Path, tmp_path: Path) -> None:
    done = script_command(tmp_path, run, name, full="1", unbuffered=unbuffered)
    if name == "compare.py --out":  # prints nothing
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 1
        assert done.stderr.endswith(" can't be written: No space left on device\n")
        assert done.stderr.count("\n") == 1
    assert script_command(tmp_path, run, name, full="12", unbuffered=unbuffered).returncode in (0, 1, 2)


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["--info"], ["-i", "searchpath"]])
def test_8_settings_that_cannot_be_printed_are_one_line(arguments: list[str], tmp_path: Path) -> None:
    for unbuffered in (False, True):
        done = command(tmp_path, "train.py", *arguments, full="1", unbuffered=unbuffered)
        line = "train.py: stdout can't be written: No space left on device\n"
        assert (done.returncode, done.stderr) == (1, line)


@pytest.mark.slow
def test_8_a_sweep_and_a_search_work_with_closed_streams(text_file: Path, tmp_path: Path) -> None:
    typed = [*SMALL, "data=text", f"data.path={text_file}"]
    swept = command(tmp_path, "train.py", *typed, "-m", "seed=1,2", f"hydra.sweep.dir={tmp_path / 's'}", closed="012")
    assert swept.returncode == 0
    assert (tmp_path / "s" / "leaderboard.csv").read_text().count("finished") == 2
    pytest.importorskip("optuna")
    for state in ({"closed": "012"}, {"full": "1"}):
        folder = tmp_path / "-".join(state)
        tuned = command(tmp_path, "scripts/tune.py", *typed, "--trials", "2", "--folder", folder, **state)
        assert tuned.returncode == 0, tuned
        assert (folder / "leaderboard.csv").read_text().count("finished") == 2


def test_8_no_later_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from charrnn.utils.streams import open_missing_streams\n"
        "open_missing_streams()\n"
        f"file = open({str(tmp_path / 'file')!r}, 'w')\n"
        "assert file.fileno() > 2\n"
        "import os\n"
        "os.system('echo printed; echo printed >&2')\n"
        "print('printed')\n"
    )
    done = command(tmp_path, str(script), closed="12")
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == ""


def test_8_a_prompt_from_a_closed_stdin_is_one_line(run: Path, tmp_path: Path) -> None:
    done = command(tmp_path, "scripts/generate.py", "--run", run, "--prompt", "-", closed="0")
    assert done.returncode == 2
    assert done.stderr == "generate.py: standard input is closed or was already read; use a file\n"


class OutStream:
    """What a notebook puts in the place of stdout: only text, without a descriptor, a buffer or an encoding to set."""

    encoding = "UTF-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _close_logs() -> Iterator[None]:
    """Close what the last run in a notebook leaves open: its train.log."""
    handlers = list(logging.getLogger().handlers)
    yield
    for handler in set(logging.getLogger().handlers) - set(handlers):
        handler.close()
        logging.getLogger().removeHandler(handler)


def in_notebook(script: str, *arguments: object, stream: Any = OutStream) -> tuple[object, str, str]:
    """Run a script as `%run` does: in this process, which stays as the script leaves it."""
    out, err = stream(), stream()
    code: object = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(ROOT / script), *map(str, arguments)])
        patch.syspath_prepend(str(ROOT / "scripts"))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                runpy.run_path(str(ROOT / script), run_name="__main__")
            except SystemExit as stop:
                code = stop.code
    read = [each.text if isinstance(each, OutStream) else each.getvalue() for each in (out, err)]
    return code, read[0], read[1]


@pytest.mark.parametrize("stream", mostly_slow([OutStream, io.StringIO]))
def test_7_training_runs_again_and_again_in_a_notebook(stream: Any, text_file: Path, tmp_path: Path) -> None:
    typed = [*SMALL, "data=text", f"data.path={text_file}"]
    for name in ("first", "second"):
        code, out, err = in_notebook("train.py", *typed, f"hydra.run.dir={tmp_path / name}", stream=stream)
        assert (code, err) == (0, "")
        assert "4  val " in out and "more text" in out
    code, _, err = in_notebook("train.py", "model.hiden=3", stream=stream)
    assert (code, err.count("\n")) == (2, 1)
    code, out, err = in_notebook("train.py", *typed, "-m", "seed=1,2", f"hydra.sweep.dir={tmp_path / 's'}")
    assert (code, err) == (0, "")
    assert out.count("leaderboard ") == 1
    code, out, err = in_notebook("train.py", *typed, f"hydra.run.dir={tmp_path / 'third'}")
    assert (code, err) == (0, "")
    assert "leaderboard " not in out


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("stream", [OutStream, io.StringIO])
def test_7_scripts_run_in_a_notebook(name: str, stream: Any, run: Path, tmp_path: Path) -> None:
    script, *flags = name.split()
    places = {"run": run, "out": tmp_path / "out.html", "model": run / "model.npz"}
    arguments = [word.format(**places) for word in SCRIPTS[name][0].split()]
    flags = flags if "--help" in flags else []
    code, out, err = in_notebook(f"scripts/{script}", *flags, *arguments, stream=stream)
    assert (code or 0, err) == (0, "")
    assert bool(out) == (name != "compare.py --out")


def test_7_no_progress_bar_without_a_terminal() -> None:
    assert not streams.is_terminal(OutStream())
    assert not streams.is_terminal(io.StringIO())
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal:
        assert streams.is_terminal(terminal)
    os.close(master)
