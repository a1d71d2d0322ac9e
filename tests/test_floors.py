"""Imports point down the floors; one look at this table tells where a file stands."""

import ast
from pathlib import Path

import charrnn

FLOORS = [
    {"errors", "files"},
    {"vocabulary", "schedules", "recurrence"},
    {"batches", "corpus", "checkpoint_file", "cells", "overrides"},
    {"runs", "network"},
    {"data", "generation"},
    {"evaluation"},
    {"module"},
    {"callbacks", "resume", "report", "sweep"},
    {"building"},
    {"experiment"},
]
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
    for file in PACKAGE.rglob("*.py"):
        if file == PACKAGE / "__init__.py":
            continue
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for other in imported(file) - {room}:
            assert floor_of[other] < floor_of[room], f"{room} imports {other}, which is not on a lower floor"


def test_a_network_is_sampled_and_scored_without_lightning() -> None:
    reached, todo = set(), {"generation", "evaluation"}
    while todo:
        room = todo.pop()
        reached.add(room)
        folder = PACKAGE / room
        for file in folder.glob("*.py") if folder.is_dir() else [PACKAGE / f"{room}.py"]:
            assert "import lightning" not in file.read_text("utf-8"), file
            assert "from lightning" not in file.read_text("utf-8"), file
            todo |= imported(file) - reached
