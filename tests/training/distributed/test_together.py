"""Several ranks that train one network give the same results and files as a single process."""

import itertools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from lightning.pytorch import Callback
from torch import distributed

from charrnn import module
from charrnn.runs import checkpoint_file
from charrnn.runs.folder import read_summary
from charrnn.utils.errors import RequestError
from conftest import ROOT, command, start, train_here
from test_exactness import assert_equal, go_on, kill_at, outcome, train

TEXT_LENGTH = 900
STARTER = multiprocessing.get_context("forkserver")
STARTER.set_forkserver_preload(["test_together"])  # so that each rank starts with everything imported


def rank_of_run(environment: dict[str, str], call: Callable[..., Any], arguments: tuple[Any, ...], kill: int) -> None:
    """Run one rank as if Lightning had started it; rank 0 kills itself in step `kill` (0: never)."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    if kill and environment["LOCAL_RANK"] == "0":
        patch = pytest.MonkeyPatch()
        kill_at(kill, module.CharRNNModule, "training_step", patch, lambda _: os.kill(os.getpid(), signal.SIGKILL))  # type: ignore[arg-type]
    call(*arguments)


def train_ranks(ranks: int, call: Callable[..., Any], *arguments: Any, kill: int = 0) -> list[int | None]:
    """Call `train` or `go_on` in each of `ranks` processes; return their exit codes."""
    shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port())}
    arguments = (*arguments, f"trainer.devices={ranks}")
    processes = [
        STARTER.Process(target=rank_of_run, args=({**shared, "LOCAL_RANK": str(rank)}, call, arguments, kill))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    return [process.exitcode for process in processes]


def names(folder: Path) -> set[str]:
    return {file.name.split(".vm")[0].split(".tfevents")[0] for file in folder.rglob("*")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "overrides"),
    [
        (2, ("data.batch_size=6", "trainer.accumulate_grad_batches=3", "scheduler=plateau", "scheduler.patience=0")),
        (3, ("data.batch_size=15", "data.order=shuffle")),  # 4 windows are left for the last batch of an epoch
    ],
)
def test_the_metrics_equal_those_of_one_rank(
    text: Path, tmp_path: Path, ranks: int, overrides: tuple[str, ...]
) -> None:
    train(tmp_path / "one", text, *overrides)
    assert train_ranks(ranks, train, tmp_path / "several", text, *overrides) == [0] * ranks
    one, several = outcome(tmp_path / "one"), outcome(tmp_path / "several")
    assert several["curves"].keys() == one["curves"].keys()
    for tag, points in one["curves"].items():
        np.testing.assert_allclose(several["curves"][tag], points, rtol=1e-5, err_msg=tag)
    for name, weights in one["weights"]["last"].items():
        torch.testing.assert_close(several["weights"]["last"][name], weights, rtol=1e-4, atol=1e-6)
    assert names(tmp_path / "several") == names(tmp_path / "one")
    summary = read_summary(tmp_path / "several")
    assert summary["val_bits_per_char"] == pytest.approx(read_summary(tmp_path / "one")["val_bits_per_char"], rel=1e-5)
    if "data.order=shuffle" not in overrides:  # a shuffled run keeps no state
        states = [checkpoint_file.read(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("one", "several")]
        torch.testing.assert_close(*(state["charrnn"]["train_state"] for state in states), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit_and_with_fewer_ranks_too(text: Path, tmp_path: Path) -> None:
    dropout = ("data.batch_size=6", "model.layers=2", "model.dropout=0.3")
    assert train_ranks(2, train, tmp_path / "whole", text, *dropout) == [0, 0]
    assert train_ranks(2, train, tmp_path / "killed", text, *dropout, kill=38) == [-signal.SIGKILL, 0]
    assert read_summary(tmp_path / "killed")["reason"] == "still running, or killed"
    saved = shutil.copy(tmp_path / "killed" / "checkpoints" / "last.ckpt", tmp_path / "half.ckpt")
    half = checkpoint_file.read(saved)
    assert half["charrnn"]["train_state"].shape[1] == 6
    first, *others = [half["charrnn"]["random"], *half["charrnn"]["random_of_others"]]
    assert not torch.equal(others[0]["torch"], first["torch"])  # each rank draws its own dropout masks
    assert train_ranks(2, go_on, tmp_path / "killed", text, *dropout) == [0, 0]
    assert_equal(outcome(tmp_path / "killed"), outcome(tmp_path / "whole"))
    alone = train(tmp_path / "alone", text, *dropout, f"resume_from={saved}")
    assert (alone["status"], alone["steps"]) == ("finished", 60)


class SpoilsSecond(Callback):
    """Makes rank 1 fail: it raises, or gets NaN weights."""

    def __init__(self, step: int, raises: bool) -> None:
        self._step, self._raises = step, raises

    def on_train_batch_start(self, trainer: lightning.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_rank == 1 and trainer.global_step == self._step:
            if self._raises:
                raise ValueError("spoiled by the test")
            torch.nn.init.constant_(pl_module.network.output_bias, torch.nan)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Assert that all ranks hold the same weights and that Lightning has not changed the number of threads."""
        assert trainer.global_rank or torch.get_num_threads() == 2
        for weight in pl_module.network.parameters():
            first = weight.data.clone()
            distributed.broadcast(first, src=0)
            assert torch.equal(first, weight)


SPOIL = ("data.batch_size=6", "threads=2", "+callbacks.spoil._target_=test_together.SpoilsSecond")


@pytest.mark.slow
def test_all_ranks_recover_together(text: Path, tmp_path: Path) -> None:
    spoil = (*SPOIL, "+callbacks.spoil.step=26", "+callbacks.spoil.raises=false")
    assert train_ranks(2, train, tmp_path, text, *spoil) == [0, 0]
    summary = read_summary(tmp_path)
    assert (summary["status"], summary["steps"]) == ("finished", 60)
    last = checkpoint_file.read(tmp_path / "checkpoints" / "last.ckpt")
    assert last["callbacks"]["Recovery"]["used"] == 1
    assert all(weight.isfinite().all() for weight in last["state_dict"].values())


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_run(text: Path, tmp_path: Path) -> None:
    spoil = (*SPOIL, "+callbacks.spoil.step=26", "+callbacks.spoil.raises=true")
    assert train_ranks(2, train, tmp_path, text, *spoil) == [1, 1]
    summary = read_summary(tmp_path)
    assert summary["status"] == "failed"
    assert summary["reason"].startswith("process 0 lost the others (")
    assert checkpoint_file.read(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 24


def test_settings_that_ranks_can_not_share_are_errors(text: Path, tmp_path: Path) -> None:
    for overrides, message in (
        (
            ("data.batch_size=5", "trainer.devices=2"),
            "is not divisible by the 2 processes; use data.batch_size=4 or .*=6$",
        ),
        (("data.batch_size=1", "trainer.devices=2"), "is not divisible by the 2 processes; use data.batch_size=2$"),
        (("trainer.devices=auto",), "trainer.devices must be a positive integer, got 'auto'"),
        (("trainer.num_nodes=2",), "trainer.num_nodes=2 needs srun or torchrun to start the processes"),
    ):
        with pytest.raises(RequestError, match=message):
            train_here(tmp_path, "data=text", "trainer.accelerator=cpu", *overrides, path=text)


@pytest.mark.slow
def test_stop_and_resume_from_the_command_line(text: Path, tmp_path: Path) -> None:
    """Lightning starts the second rank; Ctrl-C reaches both, as on a terminal, and the run resumes with one."""
    small = ("data=text", f"data.path={text}", "model.hidden=4", "data.batch_size=4", "callbacks=none", "threads=1")
    run = (*small, "trainer=ddp", "trainer.accelerator=cpu", f"hydra.run.dir={tmp_path}/run", "resume_from=last")
    process = start(
        "train.py", *run, "trainer.max_steps=1000000", "scheduler=constant", "trainer.val_check_interval=20",
        "max_minutes=1",  # so that it ends, and this test with it, if no line looks as expected
    )  # fmt: skip
    assert process.stdout is not None
    shown = list(itertools.takewhile(lambda line: "  val " not in line, process.stdout))
    assert "starting  1 more of 2 processes\n" in shown
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=100)
    assert (process.returncode, stderr) == (130, "")
    summary = read_summary(tmp_path / "run")
    assert (summary["status"], summary["reason"]) == ("interrupted", "SIGINT")
    last = checkpoint_file.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert last["global_step"] == summary["steps"] > 0
    steps = summary["steps"] + 20
    one_rank = (*small, "trainer=cpu", *run[-1:], f"hydra.run.dir={tmp_path}/run", f"trainer.max_steps={steps}")
    done = command("train.py", *one_rank, "scheduler=constant")
    assert (done.returncode, done.stderr) == (0, "")
    assert read_summary(tmp_path / "run")["steps"] == steps
    assert {file.name.split(".")[0] for file in (tmp_path / "run").iterdir()} == {
        "", "checkpoints", "events", "metrics", "samples", "summary", "train",
    }  # fmt: skip
    assert done.stdout.count("validation  ") == 1


def torchrun(*arguments: object) -> subprocess.CompletedProcess[str]:
    starter = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(ROOT / "train.py")]
    return subprocess.run([*starter, *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.slow
def test_torchrun(text: Path, tmp_path: Path) -> None:
    small = ("data=text", f"data.path={text}", "model.hidden=4", "data.batch_size=4", "callbacks=none")
    run = (*small, "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_steps=6", f"hydra.run.dir={tmp_path}/run")
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port()), "TORCHELASTIC_RUN_ID": "none"}
    ranks = [
        start("train.py", *run, "dry_run=true", WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank), **shared)
        for rank in (0, 1)
    ]
    dry = [process.communicate()[0].count("nothing was trained") for process in ranks]
    assert dry == [1, 0]  # rank 0 ends, and the other does not wait for it
    assert [process.returncode for process in ranks] == [0, 0]
    whole = torchrun(*run)
    assert (whole.returncode, whole.stdout.count("validation  ")) == (0, 1), whole.stderr
    assert read_summary(tmp_path / "run")["status"] == "finished"
    assert len(list((tmp_path / "run").glob("events*"))) == 1
