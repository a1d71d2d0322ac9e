"""The lesson docs/inside-the-rnn.md: its code prints what it says, and what it refers to exists."""

import contextlib
import csv
import io
import re
import shlex
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import charrnn
from charrnn import experiment
from charrnn.training.callbacks.monitor import Monitor
from charrnn.training.logger import NATS
from conftest import ROOT, call, composed

DOCS = ROOT / "docs"
PLOT = "inside-gradient-by-lag.png"
LESSON = (DOCS / "inside-the-rnn.md").read_text("utf-8")
# Blocks of the lesson are `python`. Those of the answers are `py`, because a notebook can't fold a code cell away.
BLOCKS = re.findall(r"^```(?:python|py)\n(.*?)^```\n(?:```text\n(.*?)^```$)?", LESSON, re.DOTALL | re.MULTILINE)
ANSWERS = re.findall(r"^<details>\n<summary>Answer</summary>\n\n(.*?)\n</details>$", LESSON, re.DOTALL | re.MULTILINE)
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```bash\n(.*?)^```$", LESSON, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]
SECTIONS = re.findall(r"^### (\d+)\. ", LESSON, re.MULTILINE)
SMALL = (
    "data=text", "data.sequence_length=16", "data.batch_size=4", "model.hidden=8", "model.kernel=fused", "threads=1",
    "trainer.accelerator=cpu", "trainer.max_steps=10", "trainer.val_check_interval=10", "trainer.log_every_n_steps=5",
)  # fmt: skip


def table(heading: str) -> list[list[str]]:
    """Return the cells of the rows of the first table after this heading."""
    rows = re.findall(r"^\|(.+)\|$", LESSON.split(heading)[1].split("\n#")[0], re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows[2:]]


def test_the_code_prints_what_the_lesson_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)  # the plot goes to the current folder
    names: dict[str, Any] = {}
    assert len(BLOCKS) == LESSON.count("```py") > 20
    with np.printoptions():
        for code, expected in BLOCKS:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, "inside-the-rnn.md", "exec"), names)
            assert printed.getvalue() == expected, code
    assert [path.name for path in tmp_path.iterdir()] == [PLOT]


def test_the_pictures_exist() -> None:
    shown = re.findall(r"!\[.+\]\(images/(.+)\)", LESSON)
    assert shown == ["unrolled-rnn.svg", PLOT]
    assert (DOCS / "images" / PLOT).read_bytes().startswith(b"\x89PNG")
    drawing = ElementTree.parse(DOCS / "images" / "unrolled-rnn.svg")
    drawn = {"".join(text.itertext()).strip() for text in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert drawn >= {f"{letter}{t}" for letter in "xhy" for t in (1, 2, 3, 4)} | {"Wxh", "Whh", "Why"}


def test_the_code_it_refers_to_exists() -> None:
    rows = table("Where it is in the code")
    assert len(rows) == 16
    for section, _, file, name in rows:
        assert section in SECTIONS
        code = (Path(charrnn.__file__).parent / file.strip("`")).read_text("utf-8")
        assert re.search(rf"^ *(def|class) {name.strip('`')}\b", code, re.MULTILINE), name


def test_the_sections_it_refers_to_exist() -> None:
    assert [str(i + 1) for i in range(15)] == SECTIONS
    assert set(re.findall(r"\b[Ss]ections? (\d+)", LESSON)) <= set(SECTIONS)


def test_a_run_writes_the_curves_that_it_explains(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Monitor, "_draw", lambda *_: None)  # plots take most of the time
    written: set[str] = set()
    for activation in ("relu", "tanh"):
        folder = tmp_path / activation
        experiment.run(composed(*SMALL, f"data.path={text_file}", f"model.activation={activation}"), folder)
        with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
            written.update(next(csv.reader(file)))
    rows = table("What to look at in TensorBoard")
    assert len(rows) == 11
    for tag, _, section, _ in rows:
        assert tag.strip("`") in written, tag
        assert not tag.startswith(f"`{NATS}"), tag  # these are not shown in TensorBoard
        assert section in SECTIONS


def test_each_exercise_has_an_answer_that_shows_what_came_out() -> None:
    exercises = re.findall(r"^### Exercise (\d+): ", LESSON, re.MULTILINE)
    assert exercises == [str(i + 1) for i in range(8)]
    assert len(ANSWERS) == LESSON.count("<details>") == len(exercises)
    for answer in ANSWERS:
        assert re.search(r"^```text$", answer, re.MULTILINE), answer


def test_its_commands_use_settings_and_options_that_exist() -> None:
    assert len(COMMANDS) > 5
    for python, script, *arguments in COMMANDS:
        assert python == "python"
        if script == "train.py":
            composed(*(argument.split(",")[0] for argument in arguments if argument != "-m"))
        else:
            explained = call(script, "--help").stdout
            for option in filter(re.compile("--").match, arguments):
                assert re.search(rf"{option}\b", explained), option
