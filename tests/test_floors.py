"""Imports point down the floors; one look at this table tells where a file stands."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import charrnn

FLOORS = [
    {"errors", "files", "matmul", "settings", "pages", "tables"},
    {
        "vocabulary", "schedules", "recurrence", "process", "signals", "canvas", "python_docs", "text_options",
        "randomness", "sampling",
    },
    {"batches", "sources", "ids_file", "baselines", "rolling_hash", "checkpoint_file", "cells", "gated", "overrides"},
    {"plots", "checks", "runs", "network", "workers", "decoding", "novelty", "text_features", "search_space"},
    {
        "ranks", "gradients", "speed", "agreement", "encoder", "stepper", "export", "records", "readable", "jobs",
        "optuna_parts",
    },
    {"own_state", "evaluation", "corpus", "figures", "generation", "onnx_step", "comparison", "diagnostics"},
    {"parts", "units", "diagnosis", "cluster_job"},
    {"data", "module", "leaderboard", "surprisal", "unit_page", "unit_plots"},
    {"callbacks", "checkpoints", "preview", "sweep", "comparison_plots", "watching", "search_report"},
    {"ending", "submission", "copies", "recovery", "report", "run_logger", "resume", "trial"},
    {"building", "study"},
    {"training"},
    {"following"},
    {"experiment"},
    {"trial_run"},
    {"tuning"},
]  # fmt: skip
PACKAGE = Path(charrnn.__file__).parent


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "charrnn":
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("charrnn.")}
    return names


def test_imports_point_down_the_floors() -> None:
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    assert len(floor_of) == sum(map(len, FLOORS)), "a room stands on two floors"
    for file in PACKAGE.rglob("*.py"):
        if file == PACKAGE / "__init__.py":
            continue
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for other in imported(file) - {room}:
            assert floor_of[other] < floor_of[room], f"{room} imports {other}, which is not on a lower floor"


@pytest.mark.parametrize(
    ("rooms", "heavy"),
    [
        ("generation, evaluation, surprisal, parts", "lightning"),
        ("sweep, overrides, runs, process", "torch"),  # --help and a mistyped key must answer at once
        ("tuning, search_report", "torch"),
    ],
)
def test_what_is_not_imported(rooms: str, heavy: str) -> None:
    program = f"import sys; from charrnn import {rooms}; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
