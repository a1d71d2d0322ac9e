"""The notebooks of docs/: they have the cells of their sources, and run."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import ROOT

DOCS = ROOT / "docs"
SOURCES = {
    DOCS / "inside-the-rnn.ipynb": DOCS / "inside-the-rnn.md",
    DOCS / "first-model.ipynb": ROOT / "scripts" / "pages" / "first_model.md",
}
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
QUICK = {
    "trainer.max_steps=1200 trainer.val_check_interval=300": "trainer.max_steps=20 trainer.val_check_interval=10 "
    "model.hidden=32 threads=1 callbacks=none data=text data.path={text} data.validation_fraction=0.2",
}


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep Jupyter and IPython away from the user's settings and history."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))


def run(notebook: Any, folder: Path) -> Any:
    """Run a notebook in a folder; an error in a cell is raised."""
    folder.mkdir(parents=True, exist_ok=True)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def printed(cell: Any) -> str:
    return "".join("".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream")


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.stem)
def test_a_notebook_has_all_of_its_source(file: Path) -> None:
    notebook = json.loads(file.read_text("utf-8"))
    nbformat.validate(notebook)
    source = SOURCES[file].read_text("utf-8")
    _, *code = cells(notebook)  # the first one changes the folder
    blocks = BLOCK.findall(source)
    assert ["".join(cell["source"]) + "\n" for cell in code] == [code for code, _ in blocks]
    text = "".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    for paragraph in BLOCK.sub("", source).split("\n\n"):
        assert paragraph.strip() in text
    if file.stem == "inside-the-rnn":
        assert [printed(cell) for cell in code] == [expected for _, expected in blocks]


def test_the_lesson_prints_in_a_notebook_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "docs" / "images").mkdir(parents=True)
    notebook = nbformat.read(DOCS / "inside-the-rnn.ipynb", as_version=4)
    expected = [printed(cell) for cell in cells(notebook)]
    assert [printed(cell) for cell in cells(run(notebook, tmp_path / "docs"))] == expected


@pytest.mark.slow
def test_the_first_model_trains_in_a_notebook(tmp_path: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    for folder in ("conf", "src", "scripts"):
        shutil.copytree(ROOT / folder, project / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "train.py", project)
    monkeypatch.setenv("PYTHONPATH", str(project / "src"))  # the kernel uses the copy, and so are its outputs
    notebook = nbformat.read(DOCS / "first-model.ipynb", as_version=4)
    kept = cells(notebook)[1:]
    assert all(cell["outputs"] for cell in kept), "run python scripts/build_docs.py --execute"
    assert not any(str(ROOT) in json.dumps(cell["outputs"]) for cell in kept)
    for long, short in QUICK.items():
        (cell,) = [cell for cell in cells(notebook) if long in cell["source"]]
        cell["source"] = cell["source"].replace(long, short.format(text=text_file))
    run(notebook, project / "docs")
    kinds = [{output["output_type"] for output in cell["outputs"]} for cell in cells(notebook)[1:]]
    assert kinds == [{output["output_type"] for output in cell["outputs"]} for cell in kept]
    assert "checkpoint" in printed(cells(notebook)[1])
    assert len(list((project / "outputs").glob("*/summary.json"))) == 1
