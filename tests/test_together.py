"""Several processes that train one network do what one would do, and leave what one would leave."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch import distributed

from charrnn import checkpoint_file, module
from charrnn.errors import RequestError, RunFailed
from charrnn.runs import read_summary
from conftest import ROOT, command, train_here
from test_exactness import Killed, assert_equal, go_on, kill_at, outcome, train


@pytest.fixture(scope="module")
def text(short_text: Callable[[int], Path]) -> Path:
    return short_text(900)


def names(folder: Path) -> set[str]:
    return {file.name.split(".vm")[0].split(".tfevents")[0] for file in folder.rglob("*")}


@pytest.mark.parametrize(
    ("devices", "overrides"),
    [
        (2, ("data.batch_size=6", "trainer.accumulate_grad_batches=3", "scheduler=plateau", "scheduler.patience=0")),
        (3, ("data.batch_size=15", "data.order=shuffle")),  # 4 windows are left for the last batch of an epoch
    ],
)
def test_the_figures_are_those_of_one_process(
    text: Path, tmp_path: Path, devices: int, overrides: tuple[str, ...]
) -> None:
    train(tmp_path / "one", text, *overrides)
    train(tmp_path / "several", text, *overrides, f"trainer.devices={devices}")
    one, several = outcome(tmp_path / "one"), outcome(tmp_path / "several")
    assert several["curves"].keys() == one["curves"].keys()
    for tag, points in one["curves"].items():
        np.testing.assert_allclose(several["curves"][tag], points, rtol=1e-5, err_msg=tag)
    for name, weights in one["weights"]["last"].items():
        torch.testing.assert_close(several["weights"]["last"][name], weights, rtol=1e-4, atol=1e-6)
    assert names(tmp_path / "several") == names(tmp_path / "one")
    summary = read_summary(tmp_path / "several")
    assert summary["val_bits_per_char"] == pytest.approx(read_summary(tmp_path / "one")["val_bits_per_char"], rel=1e-5)
    if "data.order=shuffle" not in overrides:  # there a state is of no use
        states = [checkpoint_file.read(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("one", "several")]
        torch.testing.assert_close(*(state["charrnn"]["train_state"] for state in states), rtol=1e-4, atol=1e-6)


def test_a_killed_run_goes_on_bit_for_bit_and_with_fewer_processes_too(text: Path, tmp_path: Path) -> None:
    dropout = ("data.batch_size=6", "model.layers=2", "model.dropout=0.3")
    train(tmp_path / "whole", text, *dropout, "trainer.devices=3")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(38, module.CharRNNModule, "training_step", patch)
        train(tmp_path / "killed", text, *dropout, "trainer.devices=3")
    saved = shutil.copy(tmp_path / "killed" / "checkpoints" / "last.ckpt", tmp_path / "half.ckpt")
    half = checkpoint_file.read(saved)
    assert half["charrnn"]["train_state"].shape[1] == 6
    first, *others = [half["charrnn"]["random"], *half["charrnn"]["random_of_others"]]
    assert len(others) == 2
    assert not any(torch.equal(other["torch"], first["torch"]) for other in others)  # each drops out other units
    go_on(tmp_path / "killed", text, *dropout, "trainer.devices=3")
    assert_equal(outcome(tmp_path / "killed"), outcome(tmp_path / "whole"))
    alone = train(tmp_path / "alone", text, *dropout, f"resume_from={saved}")
    assert (alone["status"], alone["steps"]) == ("finished", 60)


class SpoilsSecond(Callback):
    """A fault in one process; the others are sound."""

    def __init__(self, step: int, raises: bool) -> None:
        self._step, self._raises = step, raises

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_rank == 1 and trainer.global_step == self._step:
            if self._raises:
                raise ValueError("spoiled by the test")
            torch.nn.init.constant_(pl_module.network.output_bias, torch.nan)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """All hold the same weights; Lightning has not changed the number of threads."""
        assert trainer.global_rank or torch.get_num_threads() == 2
        for weight in pl_module.network.parameters():
            first = weight.data.clone()
            distributed.broadcast(first, src=0)
            assert torch.equal(first, weight)


SPOIL = ("data.batch_size=6", "trainer.devices=2", "threads=2", "+callbacks.spoil._target_=test_together.SpoilsSecond")


def test_a_recovery_is_one_of_all_processes(text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    summary = train(tmp_path, text, *SPOIL, "+callbacks.spoil.step=26", "+callbacks.spoil.raises=false")
    assert "is nan at step 27; back to the weights of step 24, learning rate x 0.5 (1 of 3 times)" in caplog.text
    assert (summary["status"], summary["steps"]) == ("finished", 60)


def test_a_process_that_fails_ends_the_run_with_its_reason(text: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="process 1 failed: ValueError: spoiled by the test; the others were ended"):
        train(tmp_path, text, *SPOIL, "+callbacks.spoil.step=26", "+callbacks.spoil.raises=true")
    assert read_summary(tmp_path)["status"] == "failed"
    assert checkpoint_file.read(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 24


def test_what_processes_can_not_share_is_refused(text: Path, tmp_path: Path) -> None:
    for overrides, told in (
        (("data.batch_size=5", "trainer.devices=2"), "can't share it evenly; take data.batch_size=4 or .*=6$"),
        (("data.batch_size=1", "trainer.devices=2"), "can't share it evenly; take data.batch_size=2$"),
        (("trainer.devices=auto",), "trainer.devices must be a positive integer, got 'auto'"),
        (("trainer.num_nodes=2",), "trainer.num_nodes=2 needs a starter of processes, such as srun or torchrun"),
    ):
        with pytest.raises(RequestError, match=told):
            train_here(tmp_path, "data=text", "trainer.accelerator=cpu", *overrides, path=text)


def test_a_sweep_runs_each_job_once(text: Path, tmp_path: Path) -> None:
    done = command(
        "train.py", "-m", "data=text", f"data.path={text}", "model.hidden=4", "data.batch_size=4", "callbacks=none",
        "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_steps=6", "seed=1,2", f"hydra.sweep.dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(folder.name for folder in tmp_path.iterdir() if folder.is_dir()) == ["seed-1", "seed-2"]
    for seed in (1, 2):
        assert read_summary(tmp_path / f"seed-{seed}")["status"] == "finished"
        assert len(list((tmp_path / f"seed-{seed}").glob("events*"))) == 1
    assert done.stdout.count("in each of 2 processes") == 2


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    starter = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(ROOT / "train.py")]
    return subprocess.run([*starter, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False)


def test_processes_that_torchrun_has_started(text: Path, tmp_path: Path) -> None:
    small = ("data=text", f"data.path={text}", "model.hidden=4", "data.batch_size=4", "callbacks=none")
    run = (*small, "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_steps=6", f"hydra.run.dir={tmp_path}/run")
    dry = torchrun(*run, "dry_run=true")  # the first ends, and the other does not wait for it
    assert (dry.returncode, dry.stdout.count("nothing was trained")) == (0, 1), dry.stderr
    whole = torchrun(*run)
    assert (whole.returncode, whole.stdout.count("validation  ")) == (0, 1), whole.stderr
    assert read_summary(tmp_path / "run")["status"] == "finished"
    assert len(list((tmp_path / "run").glob("events*"))) == 1
    refused = torchrun(*run, "-m")
    assert refused.returncode != 0
    assert "torchrun has started 2 processes of one run; for a sweep leave it out" in refused.stderr
