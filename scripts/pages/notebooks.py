"""Notebooks, made from pages: text becomes cells of text, and each block of Python a cell of code with its output.

A notebook is a JSON file, in format 4.5 of Jupyter.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from charrnn.utils.paths import PROJECT

DOCS = PROJECT / "docs"
LESSON = DOCS / "inside-the-rnn.md"
FIRST_MODEL = Path(__file__).with_name("first_model.md")
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```$\n?)?", re.DOTALL | re.MULTILINE)
SETUP = """# The code below uses paths of the project's folder; this notebook starts in its folder docs/.
import os

if os.path.basename(os.getcwd()) == "docs":
    os.chdir("..")
"""
LESSON_HINT = """This notebook is made from [the lesson](inside-the-rnn.md) by `scripts/build_docs.py`."""
FIRST_HINT = """[The tutorial](first-model.md) does much of the same in a terminal."""
INSTALL_HINT = """To run this notebook, install the project with `scripts/train.sh`. Then install Jupyter into the same
environment with `.venv/bin/python -m pip install jupyterlab`, and start it with `.venv/bin/jupyter lab`."""

Notebook = dict[str, Any]


def cell(kind: str, source: str, number: int, **more: Any) -> dict[str, Any]:
    """Return a cell of the `kind` "markdown" or "code"; its place and its text give it a name that stays the same."""
    name = hashlib.sha256(f"{number} {source}".encode()).hexdigest()[:8]
    return {"cell_type": kind, "id": name, "metadata": {}, "source": lines(source.strip("\n")), **more}


def lines(text: str) -> list[str]:
    """Return the lines of a text with their ends, as notebooks keep them."""
    return text.splitlines(keepends=True)


def notebook_of(page: str, *, hint: str) -> Notebook:
    """Return a page as a notebook: after its heading come `hint`, and a cell that changes to the project's folder."""
    cells: list[dict[str, Any]] = []

    def add_text(text: str) -> None:
        if text.strip():
            cells.append(cell("markdown", text, len(cells)))

    def add_code(code: str, printed: str) -> None:
        shown = [{"name": "stdout", "output_type": "stream", "text": lines(printed)}] if printed else []
        count = 1 + sum(each["cell_type"] == "code" for each in cells)
        cells.append(cell("code", code, len(cells), execution_count=count, outputs=shown))

    title, _, rest = page.partition("\n")
    add_text(f"{title}\n\n{hint}\n{INSTALL_HINT}")
    add_code(SETUP, "")
    position = 0
    for match in BLOCK.finditer(rest):
        add_text(rest[position : match.start()])
        add_code(match[1], match[2] or "")
        position = match.end()
    add_text(rest[position:])
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def lesson() -> Notebook:
    """Return the lesson; the page has what its code prints."""
    return notebook_of(LESSON.read_text("utf-8"), hint=LESSON_HINT)


def first_model(earlier: Notebook | None) -> Notebook:
    """Return the notebook of a first model, with the outputs that `earlier` has for the same cells."""
    made = notebook_of(FIRST_MODEL.read_text("utf-8"), hint=FIRST_HINT)
    known = {each["id"]: each for each in (earlier or {"cells": []})["cells"]}
    for each in made["cells"]:
        if each["cell_type"] == "code":
            each["outputs"] = known.get(each["id"], each)["outputs"]
    return made


def executed(made: Notebook, folder: Path) -> Notebook:
    """Return the notebook with the outputs that its cells have now, run in `folder`; raise an error if one fails."""
    import nbformat  # of the extra `test`: only needed here
    from nbclient import NotebookClient

    notebook = nbformat.reads(text_of(made), as_version=4)
    NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = {each["id"]: joined(map(portable, each.get("outputs", []))) for each in notebook.cells}
    cells = [
        each if each["cell_type"] == "markdown" else {**each, "outputs": outputs[each["id"]]} for each in made["cells"]
    ]
    return {**made, "cells": cells}


def joined(outputs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the outputs of a cell, with what it printed in pieces as one."""
    found: list[dict[str, Any]] = []
    for output in outputs:
        if "text" in output and found and found[-1].get("name") == output["name"]:
            found[-1]["text"] = lines("".join([*found[-1]["text"], *output["text"]]))
        else:
            found.append(output)
    return found


def portable(output: Any) -> dict[str, Any]:
    """Return an output of a cell as it is kept: without times and terminal codes, texts as lines."""
    kept: dict[str, Any] = json.loads(json.dumps(output))
    kept.pop("transient", None)
    if "execution_count" in kept:
        kept["execution_count"] = None
    if "text" in kept:
        kept["text"] = lines(kept["text"])
    for kind, content in kept.get("data", {}).items():
        if kind.startswith("text/"):
            kept["data"][kind] = lines(content)
    return kept


def text_of(notebook: Notebook) -> str:
    """Return the file of a notebook, as Jupyter writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def read(file: Path) -> Notebook | None:
    """Return the notebook in a file, or None if there is none."""
    if not file.exists():
        return None
    notebook: Notebook = json.loads(file.read_text("utf-8"))
    return notebook
