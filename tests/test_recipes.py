"""Every recipe of conf/experiment builds and makes two steps; its result is measured in docs/learning.md."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from charrnn import experiment
from charrnn.overrides import CONF
from charrnn.runs import read_summary

RECIPES = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains(name: str, text_file: Path, tmp_path: Path) -> None:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        overrides = (f"data.path={text_file}", "data.sha256=null", "trainer.max_steps=2", "data.sequence_length=8")
        cfg = compose("config", overrides=[f"experiment={name}", *overrides, "trainer.accelerator=cpu", "threads=1"])
    experiment.run(cfg, tmp_path)
    assert read_summary(tmp_path)["steps"] == 2


def test_every_recipe_says_what_to_expect() -> None:
    for name in RECIPES:
        lines = (CONF / "experiment" / f"{name}.yaml").read_text("utf-8").splitlines()
        assert lines[0] == "# @package _global_"
        assert lines[1].startswith("# "), name
