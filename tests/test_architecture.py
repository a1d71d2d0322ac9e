"""The architecture of docs/architecture.md: which wings exist, who may import whom, and what must stay light."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.data.vocabulary import Vocabulary
from conftest import ROOT, save_network

PACKAGE = Path(charrnn.__file__).parent
BELOW_TRAINING = "visualization evaluation generation export analysis runs network data utils"
# The wings from top to bottom, each with those that it may import.
WINGS = {
    "search": "experiment training runs utils",
    "experiment": "training module evaluation runs network data utils",
    "training": f"module {BELOW_TRAINING}",
    "module": "evaluation runs network data utils",
    "visualization": "analysis evaluation export generation runs network data utils",
    "evaluation": "network data utils",
    "export": "generation network data utils",
    "generation": "network data utils",
    "analysis": "network data utils",
    "runs": "network data utils",
    "network": "utils",
    "data": "utils",
    "utils": "",
}
MAX_LINES = 220


def module_of(file: Path) -> str:
    return ".".join(("charrnn", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


FILES = {module_of(file): file for file in PACKAGE.rglob("*.py")}


def imported(file: Path) -> set[str]:
    """The modules of this package that a file imports, wherever in the file it does."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "charrnn":
            names |= {name if (name := f"{node.module}.{alias.name}") in FILES else node.module for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "charrnn"}
    return names


def test_the_entries_are_the_wings() -> None:
    entries = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert entries == {*WINGS, "__init__", "py.typed"}


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_only_what_the_table_allows(wing: str) -> None:
    allowed = {wing, *WINGS[wing].split()}
    for module, file in FILES.items():
        if module.split(".")[1:2] == [wing]:
            foreign = {
                name for name in imported(file) if name.split(".")[1:2] != [] and name.split(".")[1] not in allowed
            }
            assert not foreign, f"{module} imports {foreign}"


def test_the_table_orders_the_wings() -> None:
    order = list(WINGS)
    for wing, allowed in WINGS.items():
        assert all(order.index(other) > order.index(wing) for other in allowed.split())


def test_the_document_shows_the_same_wings_and_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", text, re.MULTILINE)
    assert rows == list(WINGS)
    reading_order = re.findall(r"^\| (\d+) \| `(.+?)` \|", text, re.MULTILINE)
    assert [int(number) for number, _ in reading_order] == list(range(1, 11))
    named = [file for _, file in reading_order] + [
        f"src/charrnn/{file}" for file in re.findall(r"`(?!tests)(\w+/\w+\.py)`", text)
    ]
    assert [file for file in named if not (ROOT / file).exists()] == []


def test_no_circle_of_files() -> None:
    graph = {module: imported(file) - {module} for module, file in FILES.items()}
    assert set(TopologicalSorter(graph).static_order()) >= FILES.keys()


def test_files_are_short() -> None:
    lengths = {module: len(file.read_text("utf-8").splitlines()) for module, file in FILES.items()}
    assert {module: lines for module, lines in lengths.items() if lines > MAX_LINES} == {}


def test_tests_mirror_the_wings() -> None:
    # End-to-end tests, what users ran into, and the documentation.
    others = {ROOT / "tests", ROOT / "tests" / "cases", ROOT / "tests" / "docs"}
    for folder in {file.parent for file in (ROOT / "tests").rglob("test_*.py")} - others:
        assert (PACKAGE / folder.relative_to(ROOT / "tests")).is_dir()


@pytest.mark.parametrize(
    ("script", "arguments", "missing"),
    [
        ("train.py", ["--help"], "torch"),
        ("train.py", ["model.hiden=3"], "torch"),
        ("scripts/tune.py", ["--help"], "torch"),
        ("scripts/compare.py", ["--help"], "torch"),
        ("scripts/generate.py", ["--checkpoint", "net.ckpt", "--length", "3"], "lightning"),
        ("scripts/generate.py", ["--checkpoint", "net.ckpt", "--length", "3"], "hydra"),
    ],
)
def test_what_must_be_quick_does_without_heavy_imports(
    script: str, arguments: list[str], missing: str, tmp_path: Path, make_network: Any
) -> None:
    save_network(make_network(3), Vocabulary("abc"), tmp_path / "net.ckpt")
    program = (
        f"import runpy, sys; sys.modules[{missing!r}] = None; sys.argv = {[script, *arguments]!r};"
        f"sys.path.insert(0, {str((ROOT / script).parent)!r});"
        f"runpy.run_path({str(ROOT / script)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" not in done.stderr and done.returncode == (2 if "hiden" in arguments[0] else 0), done
