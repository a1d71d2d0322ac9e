"""A run that is killed anywhere and goes on gives what the undisturbed run gives, bit for bit."""

import errno
import itertools
import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from charrnn import experiment, module
from charrnn.data import batches
from charrnn.runs import checkpoint_file
from charrnn.runs.folder import read_summary
from charrnn.training.callbacks import progress
from charrnn.training.callbacks.checkpoint import readable_checkpoints
from charrnn.utils.errors import RequestError
from conftest import train_here

TEXT_LENGTH = 600  # an epoch has 24 or 25 batches: 60 steps go over two ends of one
SMALL = (
    "data=text", "model.hidden=6", "data.batch_size=3", "data.sequence_length=7", "trainer.accelerator=cpu",
    "trainer.max_steps=60", "threads=1", "data.validation_fraction=0.1", "trainer.val_check_interval=12",
    "trainer.log_every_n_steps=4", "checkpoint_every=10",
)  # fmt: skip


class Killed(BaseException):
    """As SIGKILL: nobody handles it."""


def train(folder: Path, text: Path, *overrides: str) -> dict[str, Any]:
    return train_here(folder, *SMALL, "resume_from=last", *overrides, path=text)


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves, but for what the clock decides."""
    saved = {name: checkpoint_file.read(folder / "checkpoints" / f"{name}.ckpt") for name in ("best", "last")}
    points = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    curves = {
        tag: [(event.step, event.value) for event in points.Scalars(tag)]
        for tag in points.Tags()["scalars"]
        if not tag.startswith("speed")
    }
    summary = {key: value for key, value in read_summary(folder).items() if not re.search("second|checkpoint", key)}
    return {
        "weights": {name: checkpoint["state_dict"] for name, checkpoint in saved.items()},
        "optimizer": {name: checkpoint["optimizer_states"] for name, checkpoint in saved.items()},
        "position": saved["last"]["charrnn"]["random"]["torch"],
        "curves": curves,
        "samples": (folder / "samples.txt").read_text(),
        "summary": summary,
    }


def assert_equal(ours: Any, theirs: Any, place: str = "") -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), place
        for key in theirs:
            assert_equal(ours[key], theirs[key], f"{place}/{key}")
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), place
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_equal(one, other, f"{place}/{i}")
    elif isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs), place
    else:
        assert ours == theirs, place


def killed(folder: Path, text: Path, owner: Any, hook: str, step: int, *overrides: str) -> None:
    """A run that is killed there."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(step, owner, hook, patch)
        train(folder, text, *overrides)


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def kill_at(step: int, owner: Any, hook: str, patch: pytest.MonkeyPatch, error: type[BaseException] = Killed) -> None:
    """Kill the run when it calls this hook in or after this step."""
    original: Callable[..., Any] = getattr(owner, hook)

    def killing(self: Any, *arguments: Any, **named: Any) -> Any:
        trainer = self.trainer if isinstance(self, module.CharRNNModule) else arguments[0]
        if trainer.global_step >= step:
            patch.undo()
            raise error("killed by the test")
        return original(self, *arguments, **named)

    patch.setattr(owner, hook, killing)


CASES = {
    "stream": (),
    "rotate": ("data.order=rotate",),
    "shuffle": ("data.order=shuffle",),
    "dropout": ("model.layers=2", "model.dropout=0.3", "model.input_dropout=0.1", "model.label_smoothing=0.1"),
    "accumulation": ("trainer.accumulate_grad_batches=3", "checkpoint_every=5"),
    "plateau": ("scheduler=plateau", "scheduler.patience=0", "data.order=shuffle"),
    "epochs": ("trainer.max_steps=-1", "trainer.max_epochs=3", "trainer.val_check_interval=24", "checkpoint_every=24"),
    "64-true": ("trainer.precision=64-true",),
    "accumulation that does not divide": ("trainer.accumulate_grad_batches=4", "trainer.val_check_interval=6"),
    "adagrad, relu": ("optimizer=adagrad", "model.activation=relu", "trainer.val_check_interval=10"),
}
MOMENTS = [
    (progress.Curves, "on_train_batch_end", 3),  # before the first checkpoint
    (module.CharRNNModule, "training_step", 20),  # a checkpoint's step
    (progress.Progress, "on_train_batch_end", 24),  # after the figures, before the checkpoint; an epoch's end
    (module.CharRNNModule, "validation_step", 36),
    (progress.Progress, "on_validation_end", 48),  # before best.ckpt
    (module.CharRNNModule, "training_step", 48),
    (module.CharRNNModule, "validation_step", 60),  # the last validation
    (experiment, "score", 0),  # after the fit
]


@pytest.fixture(scope="module")
def whole_run(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Returns the outcome of a case, trained once."""

    @cache
    def train_case(case: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("whole")
        train(folder, text, *CASES[case])
        return outcome(folder)

    return train_case


@pytest.fixture
def undisturbed(request: pytest.FixtureRequest, whole_run: Callable[[str], dict[str, Any]]) -> Any:
    return CASES[request.param], whole_run(request.param)


@pytest.mark.parametrize(
    ("undisturbed", "owner", "hook", "step"),
    # Every third pair: all cases, all moments, a third of the time.
    [(case, *moment) for i, case in enumerate(CASES) for j, moment in enumerate(MOMENTS) if (i + j) % 3 == 2],
    indirect=["undisturbed"],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    undisturbed: Any, text: Path, tmp_path: Path, owner: Any, hook: str, step: int
) -> None:
    overrides, whole = undisturbed
    if owner is experiment:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(experiment, hook, lambda *_: (_ for _ in ()).throw(Killed))
            train(tmp_path, text, *overrides)
    else:
        killed(tmp_path, text, owner, hook, step, *overrides)
    go_on(tmp_path, text, *overrides)
    assert_equal(outcome(tmp_path), whole)


@pytest.mark.parametrize(
    ("undisturbed", "place"),
    [("dropout", "callback"), ("dropout", "loader"), ("accumulation", "step")],
    indirect=["undisturbed"],
)
def test_after_an_error_the_last_checkpoint_remains(undisturbed: Any, text: Path, tmp_path: Path, place: str) -> None:
    overrides, whole = undisturbed
    read = batches.StreamBatches.__iter__

    def breaking(loader: batches.StreamBatches) -> Iterator[batches.Batch]:
        yield from itertools.islice(read(loader), 20)
        raise OSError("broken by the test")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="by the test"):
        if place == "loader":
            patch.setattr(batches.StreamBatches, "__iter__", breaking)
        else:
            owner = {"step": (module.CharRNNModule, "backward"), "callback": (progress.Curves, "on_train_batch_end")}
            kill_at(27, *owner[place], patch, OSError)
        train(tmp_path, text, *overrides)
    assert read_summary(tmp_path)["status"] == "failed"
    saved = checkpoint_file.read(tmp_path / "checkpoints" / "last.ckpt")["global_step"]
    assert saved >= (10 if place == "loader" else 24)
    go_on(tmp_path, text, *overrides)
    assert_equal(outcome(tmp_path), whole)


@pytest.mark.parametrize("undisturbed", ["stream"], indirect=True)
@pytest.mark.parametrize("write", [2, 5, 11])
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_kill_in_a_checkpoint_write(undisturbed: Any, text: Path, tmp_path: Path, write: int, moment: str) -> None:
    overrides, whole = undisturbed
    count = 0

    def killing(original: Any) -> Any:
        def call(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == write:
                raise Killed
            return original(*arguments)

        return call

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        owner: Any = os if moment == "fsync" else Path
        patch.setattr(owner, moment, killing(getattr(owner, moment)))
        train(tmp_path, text, *overrides)
    go_on(tmp_path, text, *overrides)
    assert_equal(outcome(tmp_path), whole)


@pytest.mark.parametrize("undisturbed", ["shuffle"], indirect=True)
def test_a_torn_last_checkpoint_is_seen_and_the_one_before_is_taken(
    undisturbed: Any, text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides, whole = undisturbed
    killed(tmp_path, text, module.CharRNNModule, "training_step", 35, *overrides)
    last = tmp_path / "checkpoints" / "last.ckpt"
    raw = last.read_bytes()
    for tenth in range(10):
        last.write_bytes(raw[: len(raw) * tenth // 10])
        (path, checkpoint), *rest = readable_checkpoints(last.parent)
        assert (path.name, checkpoint["global_step"], rest) == ("previous.ckpt", 24, [])
    last.write_bytes(raw[:5000] + b"changed" + raw[5007:])
    go_on(tmp_path, text, *overrides)
    assert "last.ckpt is not a readable checkpoint" in caplog.text
    assert_equal(outcome(tmp_path), whole)


@pytest.mark.parametrize("undisturbed", ["stream"], indirect=True)
def test_a_full_disk_costs_a_warning_and_the_run_goes_on(
    undisturbed: Any, text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    overrides, whole = undisturbed
    write = checkpoint_file.write

    def full_for_a_while(checkpoint: dict[str, Any], path: Path, keep: Path | None = None) -> None:
        if 10 < checkpoint["global_step"] < 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(checkpoint, path, keep)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_file, "write", full_for_a_while)
        train(tmp_path, text, *overrides)
    assert "last.ckpt (No space left on device); the older file is kept" in caplog.text
    ours = outcome(tmp_path)
    assert_equal(ours["weights"]["last"], whole["weights"]["last"])
    assert_equal(ours["curves"]["bits_per_char/train"], whole["curves"]["bits_per_char/train"])


def test_without_any_checkpoint_the_weights_are_scored(text: Path, tmp_path: Path) -> None:
    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_file, "write", full)
        summary = train(tmp_path, text, "trainer.max_steps=20")
    assert (summary["status"], summary["steps"], summary["checkpoint"]) == ("finished", 20, None)
    assert 0 < summary["val_bits_per_char"] < 7


def test_a_finished_run_is_left_alone_and_goes_on_when_asked_for_more(text: Path, tmp_path: Path) -> None:
    constant = ("scheduler=constant", "data.test_fraction=0")
    train(tmp_path / "whole", text, *constant)
    train(tmp_path / "run", text, *constant, "trainer.max_steps=36")
    before = contents(tmp_path / "run")
    train(tmp_path / "run", text, *constant, "trainer.max_steps=36")
    train(tmp_path / "run", text, *constant, "trainer.max_steps=20")
    assert contents(tmp_path / "run") == before
    go_on(tmp_path / "run", text, *constant)
    ours, whole = outcome(tmp_path / "run"), outcome(tmp_path / "whole")
    assert_equal(ours["weights"], whole["weights"])
    assert_equal(ours["curves"]["bits_per_char/train"], whole["curves"]["bits_per_char/train"])
    assert_equal(ours["curves"]["bits_per_char/val"], whole["curves"]["bits_per_char/val"])


def test_a_dry_run_and_a_lost_summary_leave_a_finished_run_as_it_is(text: Path, tmp_path: Path) -> None:
    train(tmp_path, text)
    whole = outcome(tmp_path)
    for overrides in (("dry_run=true",), ("dry_run=true", "trainer.max_steps=90")):
        train(tmp_path, text, *overrides)
        assert_equal(outcome(tmp_path), whole)
    summary = tmp_path / "summary.json"
    summary.write_text(summary.read_text().replace("finished", "interrupted"))  # as if killed while it was scored
    seconds = read_summary(tmp_path)["train_seconds"]
    train(tmp_path, text)
    again = outcome(tmp_path)
    for part in ("weights", "summary", "samples"):
        assert_equal(again[part], whole[part])
    assert_equal(again["curves"]["bits_per_char/val"], whole["curves"]["bits_per_char/val"])
    assert read_summary(tmp_path)["train_seconds"] == pytest.approx(seconds, abs=0.2)


def test_a_torn_best_checkpoint_costs_a_warning(text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, text, "trainer.max_steps=30", "scheduler=constant")
    best = tmp_path / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:-500])
    go_on(tmp_path, text, "scheduler=constant")
    assert "best.ckpt is not a readable checkpoint" in caplog.text
    assert checkpoint_file.read(best)["global_step"] > 30


def test_a_run_goes_on_in_another_folder(text: Path, tmp_path: Path) -> None:
    train(tmp_path / "whole", text, "scheduler=constant")
    train(tmp_path / "half", text, "scheduler=constant", "trainer.max_steps=31")
    train(tmp_path / "rest", text, "scheduler=constant", f"resume_from={tmp_path}/half/checkpoints/last.ckpt")
    whole, rest = outcome(tmp_path / "whole"), outcome(tmp_path / "rest")
    assert_equal(rest["weights"]["last"], whole["weights"]["last"])
    assert [step for step, _ in rest["curves"]["bits_per_char/train"]] == list(range(32, 61, 4))
    assert rest["summary"]["best_step"] >= 31  # the best of before lies elsewhere


def test_a_new_run_may_begin_with_the_weights_of_another(text: Path, tmp_path: Path) -> None:
    train(tmp_path / "first", text)
    init = f"init_from={tmp_path}/first/checkpoints/best.ckpt"
    frozen = (init, "optimizer.lr=0", "optimizer.weight_decay=0")
    train(tmp_path / "second", text, *frozen)
    first, second = outcome(tmp_path / "first"), outcome(tmp_path / "second")
    assert_equal(second["weights"]["last"], first["weights"]["best"])
    assert second["summary"]["best_step"] == 12
    killed(tmp_path / "again", text, progress.Curves, "on_train_batch_end", 3, *frozen)  # only step 0 was saved
    go_on(tmp_path / "again", text, *frozen)
    assert_equal(outcome(tmp_path / "again"), second)
    with pytest.raises(RequestError, match="holds another network; use model.hidden=6"):
        train(tmp_path / "third", text, init, "model.hidden=7")


def go_on(folder: Path, text: Path, *overrides: str) -> None:
    """As a command given again, some seconds later."""
    for file in folder.glob("events.out.tfevents.*"):
        name = file.name.split(".")
        file.rename(file.with_name(".".join([*name[:3], str(int(name[3]) - 60), *name[4:]])))
    train(folder, text, *overrides)
