"""A run that is killed for real at random moments, and resumed by the same command, ends as the undisturbed run.

pytest -m torture --kills 50
"""

import itertools
import random
import time
from pathlib import Path
from typing import Any

import pytest

from conftest import start, train_here
from test_exactness import assert_equal, outcome
from zygote import Child

RUN = (
    "data=text", "data.batch_size=8", "data.sequence_length=16", "data.validation_fraction=0.1", "model.hidden=64",
    "model.layers=2", "model.dropout=0.2", "trainer.accelerator=cpu", "threads=1", "trainer.accumulate_grad_batches=2",
    "trainer.val_check_interval=90", "trainer.log_every_n_steps=10", "checkpoint_every=5", "resume_from=last",
)  # fmt: skip
IN_THE_START = 0.1  # share of the kills before the training has begun


def is_killed(process: Child, folder: Path, wait: float, draws: random.Random) -> bool:
    """Kill the process at a random moment; return False if it ended by itself before."""

    def saved() -> object:
        """Changes when the training begins and when it saves."""
        files = (folder / "summary.json", folder / "checkpoints" / "last.ckpt")
        return [file.stat().st_mtime_ns if file.exists() else None for file in files]

    if draws.random() < IN_THE_START:
        time.sleep(draws.uniform(0.1, 3.0))
    else:
        before = saved()
        while process.poll() is None and saved() == before:
            time.sleep(0.01)
        time.sleep(draws.uniform(0.0, wait))
    process.kill()
    _, stderr = process.communicate()
    assert process.returncode in (0, -9), stderr
    return process.returncode == -9


def torture(kills: int, steps: int, text: Path, folder: Path, *overrides: str) -> None:
    draws, undisturbed = random.Random(1), dict[str, Any]()
    for number in itertools.count():
        if kills == 0:
            return
        order, run = ("stream", "shuffle")[number % 2], folder / f"run-{number}"
        settings = (*RUN, *overrides, f"trainer.max_steps={steps}", f"data.order={order}")
        command = (*settings, f"data.path={text}", f"hydra.run.dir={run}")
        if order not in undisturbed:
            seconds = train_here(folder / order, *settings, path=text)["train_seconds"]
            undisturbed[order] = (outcome(folder / order), seconds)
        whole, seconds = undisturbed[order]
        while kills:
            if not is_killed(start("train.py", *command), run, seconds / 4, draws):
                break
            kills -= 1
        else:
            process = start("train.py", *command)
            _, stderr = process.communicate(timeout=600)
            assert process.returncode == 0, stderr
        assert_equal(outcome(run), whole)


@pytest.mark.slow
def test_one_kill(text_file: Path, tmp_path: Path) -> None:
    torture(1, 120, text_file, tmp_path, "callbacks=none")


@pytest.mark.torture
def test_many_kills(text_file: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    torture(pytestconfig.getoption("--kills"), 600, text_file, tmp_path, "callbacks=default")
