"""The commands and examples of docs/first-model.md, docs/how-to/ and others work, and print what the pages say.

A page has three kinds of blocks: `bash` has commands, which run on a small text with few steps; `console` has commands
with all that they print; `python`, `yaml` and `diff` are examples, written to the file that the line above names.
The batch file runs with programs in the place of Slurm's and Python's.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import ROOT, Called, composed
from zygote import Zygote

DOCS = ROOT / "docs"
HOW_TO = DOCS / "how-to"
EXTEND = HOW_TO / "extend.md"
PAGES = [DOCS / "index.md", DOCS / "first-model.md", DOCS / "reproducibility.md", *sorted(HOW_TO.glob("*.md"))]
# Commands that no test can run, by their beginning.
NOT_RUN = {
    "source .venv/bin/activate": "changes the shell",
    "pip install": "installs",
    "python3 -m venv": "installs",
    ".venv/bin/pip": "installs",
    "tensorboard": "serves until it is stopped",
    "python train.py -m hydra/launcher=slurm": "needs a cluster",
    "python train.py -m hydra/launcher=submitit_local": "starts a process for each job; tests/test_submission.py does",
    "python train.py -m hydra/launcher=joblib": "starts a process for each job; tests/test_sweep.py does",
    "python train.py trainer=gpu": "needs a GPU",
    "python train.py trainer=mps": "needs a Mac",
    "python train.py trainer=ddp": "starts several processes; tests/training/distributed/test_together.py does",
    "torchrun": "starts several processes; tests/training/distributed/test_together.py does",
    "python train.py data=text data.path=https://": "downloads",
    "python scripts/benchmark.py": "takes minutes; tests/test_benchmark.py runs it with tiny sizes",
    "pytest": "runs the tests",
}
STEPS_OF_ONE = 500  # steps in a page for each step in the test
PROGRAMS = {
    "srun": 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"',
    "python": 'echo "python $*" >>"$CALLS"; exit "$CODE"',
    "scontrol": 'echo "scontrol $*" >>"$CALLS"',
}
# Runs a script with the package of another folder, in a process that has imported this one.
OTHER_PACKAGE = """
import runpy, sys
for name in [name for name in sys.modules if name.split(".")[0] == "charrnn"]:
    del sys.modules[name]
sys.path[:0] = [sys.argv[1], sys.argv[2]]
sys.argv[:] = sys.argv[3:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Block(NamedTuple):
    """A fenced block of a page: its language, its text, and the line above it."""

    language: str
    text: str
    above: str


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"([^\n]*)\n+```(\w+)\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [Block(language, text, above) for above, language, text in found]


def commands(page: Path) -> list[str]:
    """Return the commands of the `bash` blocks, without comments."""
    texts = [block.text for block in blocks(page) if block.language == "bash" and not block.text.startswith("#!")]
    lines = "".join(texts).replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.sub(r"(^|\s+)#\s.*", "", line).strip())]


def reason(command: str) -> str | None:
    """Return why a command is not run."""
    return next((why for beginning, why in NOT_RUN.items() if command.startswith(beginning)), None)


def small(command: str) -> str:
    """Return the command with few steps and a small text."""
    command = command.replace("scripts/train.sh", "python train.py")
    steps = lambda match: f"{match[1]}={-(-int(float(match[2])) // STEPS_OF_ONE)}"  # noqa: E731
    command = re.sub(r"(trainer\.max_steps|trainer\.val_check_interval)=([\de]+)", steps, command)
    command = re.sub(r"--trials (\d+)", lambda match: f"--trials {-(-int(match[1]) // 5)}", command)
    command = command.replace("trainer.max_epochs=", "trainer.max_epochs=-1 +was_epochs=")
    command = re.sub(r" \+was_epochs=\d+", "", command)
    if not re.match(r"python (train|scripts/tune)\.py", command):
        return command
    more = {"trainer.max_steps": "4", "data.path": "my_book.txt", "threads": "1", "callbacks": "none"}
    more["model.hidden"] = "16"
    if "data=text" in command:
        more.pop("data.path")  # it is typed, or its lack is what the page shows
    elif "data.path" not in command:
        more["data.sha256"] = "null"
    if "python_source" in command:  # a text of its own, which is long
        more = {**more, "data.path": "python:source", "data.validation_fraction": "0.0002", "data.test_fraction": "0"}
    if " callbacks." in command:
        more.pop("callbacks")  # the command is about one of them
    typed = {word.lstrip("+").partition("=")[0] for word in shlex.split(command)}
    return " ".join([command, *(f"{key}={value}" for key, value in more.items() if key not in typed)])


class Project:
    """A copy of the project with some texts, in which commands run as a reader types them."""

    def __init__(self, folder: Path, text: str) -> None:
        self.folder, self._zygote = folder, Zygote(PYTHONPATH=str(folder / "src"))
        for name in ("conf", "src", "scripts", "docs"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copy(ROOT / "train.py", folder)
        (folder / "other_package.py").write_text(OTHER_PACKAGE)
        (folder / "my_book.txt").write_text(text)
        (folder / "other.txt").write_text(text[:2_000])

    def run(self, command: str, package: Path | None = None) -> Called:
        """Run a command in the folder, or in that of another `package`."""
        place = package or self.folder
        if not command.startswith("python "):
            shell = subprocess.run(["bash", "-c", command], cwd=place, capture_output=True, text=True, check=False)
            done = Called(shell.returncode, shell.stdout, shell.stderr)
        else:
            command, _, target = command.partition(" > ")
            _, name, *arguments = shlex.split(command)
            script = place / name
            if package is not None:
                arguments = [str(place / "src"), str(script.parent), str(script), *arguments]
                script = self.folder / "other_package.py"
            with self._zygote.start(script, arguments, place, dict(os.environ)) as process:
                printed, errors = process.communicate()
            assert process.returncode is not None
            done = Called(process.returncode, printed, errors)
            if target:
                (place / target).write_text(printed)
        return done

    def runs(self, command: str, package: Path | None = None) -> str:
        """Run a command that must succeed; return what it prints."""
        code, printed, errors = self.run(small(command), package)
        assert (code, "Traceback" in errors) == (0, False), f"{command}\n{small(command)}\n{printed}\n{errors}"
        return printed

    def close(self) -> None:
        self._zygote.close()


@pytest.fixture(scope="module")
def project(docs: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The copy, with the runs of docs/first-model.md and the files of the how-to pages."""
    copy = Project(tmp_path_factory.mktemp("project"), docs[:30_000])
    for page in PAGES:
        if page != EXTEND:
            write_examples(page, copy.folder)
    for command in commands(DOCS / "first-model.md"):
        if reason(command) is None:
            copy.runs(command)
    yield copy
    copy.close()


def write_examples(page: Path, folder: Path) -> None:
    """Write the files of a page, and make the edits of its `diff` blocks."""
    for language, text, above in blocks(page):
        if language == "diff":
            header, *lines = text.splitlines()
            file = folder / header.removeprefix("--- ")
            before, after = ("".join(f"{line[1:]}\n" for line in lines if line[:1] in kept) for kept in (" -", " +"))
            content = file.read_text("utf-8")
            assert content.count(before) == 1, f"{page.name} edits lines of {header} that are not there once:\n{before}"
            file.write_text(content.replace(before, after), "utf-8")
        elif language in ("python", "yaml") and (named := re.fullmatch(r"`([\w./-]+)`:", above)):
            (folder / named[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / named[1]).write_text(text, "utf-8")


def test_every_page_has_commands_and_every_exception_a_use() -> None:
    found = [command for page in PAGES for command in commands(page)]
    assert len(found) > 60
    for beginning in NOT_RUN:
        assert any(command.startswith(beginning) for command in found), f"no page has {beginning}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page != EXTEND], ids=lambda page: page.stem)
def test_the_commands_run(page: Path, project: Project) -> None:
    if page.name != "first-model.md":  # the fixture has run those
        for command in commands(page):
            if reason(command) is None:
                project.runs(command)
    for block in blocks(page):
        if block.language == "python" and not block.above.endswith("`:"):
            (project.folder / "example.py").write_text(block.text)
            assert project.runs("python example.py")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_messages_are_those_that_are_printed(page: Path, project: Project) -> None:
    for block in blocks(page):
        if block.language != "console":
            continue
        for command, expected in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
            _, printed, errors = project.run(small(command))
            pattern = ".*".join(map(re.escape, expected.strip().split("...")))
            pattern = re.sub(r"\d+", r"\\d+", pattern)  # the runs of the test are shorter
            assert re.fullmatch(pattern, (printed + errors).strip(), re.DOTALL), f"{command}\n{printed}{errors}"


@pytest.mark.slow
def test_the_extensions_work(project: Project, tmp_path: Path) -> None:
    extended = tmp_path / "extended"
    shutil.copytree(project.folder, extended, ignore=shutil.ignore_patterns("outputs", "docs"))
    write_examples(EXTEND, extended)
    for command in commands(EXTEND):
        if reason(command) is None:
            printed = project.runs(command, extended)
            assert printed, command
    examples = [block for block in blocks(EXTEND) if block.language == "python" and not block.above.endswith("`:")]
    results = re.findall(r"^```python\n[^`]*^```\n```text\n(.*?)^```$", EXTEND.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == len(results) == 1
    for example, expected in zip(examples, results, strict=True):
        (extended / "example.py").write_text(example.text)
        assert project.run("python example.py", extended) == (0, expected, "")
    metrics = [file.read_text() for file in (extended / "outputs").glob("*/metrics.csv")]
    assert sum("network/entropy_bits" in text for text in metrics) == 2


@pytest.mark.parametrize("code", [0, 1, 128 + signal.SIGUSR1, 128 + signal.SIGTERM])
def test_a_job_whose_time_is_over_is_queued_again(code: int, tmp_path: Path) -> None:
    (batch_file,) = (
        block.text for block in blocks(HOW_TO / "devices-and-clusters.md") if block.text.startswith("#!/bin/bash")
    )
    for name, program in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{program}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "job.sh").write_text(batch_file)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    calls = tmp_path / "calls"
    environment = {"PATH": path, "CALLS": str(calls), "CODE": str(code), "SLURM_JOB_ID": "7"}
    done = subprocess.run(["bash", str(tmp_path / "job.sh")], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (code, b"")
    trained, *requeued = calls.read_text().splitlines()
    assert requeued == (["scontrol requeue 7"] if code == 138 else [])
    assert trained.endswith(" resume_from=last")
    composed(*shlex.split(batch_file.split("train.py")[1].splitlines()[0]))
