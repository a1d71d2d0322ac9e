"""Every recipe of conf/experiment builds and makes two steps; its result is measured in docs/learning.md."""

from pathlib import Path

import pytest

from charrnn.overrides import CONF
from conftest import train_here

RECIPES = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains(name: str, text_file: Path, tmp_path: Path) -> None:
    overrides = ("data.sha256=null", "trainer.max_steps=2", "data.sequence_length=8", "trainer.accelerator=cpu")
    assert train_here(tmp_path, f"experiment={name}", *overrides, "threads=1", path=text_file)["steps"] == 2


def test_every_recipe_says_what_to_expect() -> None:
    for name in RECIPES:
        lines = (CONF / "experiment" / f"{name}.yaml").read_text("utf-8").splitlines()
        assert lines[0] == "# @package _global_"
        assert lines[1].startswith("# "), name
