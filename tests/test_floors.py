"""No circle of imports among the modules, and no heavy import where an answer must come at once."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import charrnn

PACKAGE = Path(charrnn.__file__).parent


def imported(file: Path) -> set[str]:
    """The modules and packages directly in charrnn that the file names in its import statements."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "charrnn":
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return names


def test_imports_have_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        module = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        graph.setdefault(module, set()).update(imported(file) - {module})
    assert len(list(TopologicalSorter(graph).static_order())) > 50


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("generation, evaluation, surprisal, parts", "lightning"),
        ("sweep, runs", "torch"),  # --help and a mistyped key must answer at once
        ("tuning, search_report", "torch"),
    ],
)
def test_what_is_not_imported(modules: str, heavy: str) -> None:
    program = f"import sys; from charrnn import {modules}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
