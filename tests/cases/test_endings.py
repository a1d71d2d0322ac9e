"""Whatever ends a fit, the weights of the last whole step are saved, validated and scored, and the summary says why."""

import datetime
import errno
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Callback

from charrnn.runs import checkpoint_file
from charrnn.runs.folder import read_summary
from charrnn.runs.records import read_metrics
from charrnn.training.checkpoint_io import NotPlain, plain_value
from charrnn.utils.errors import RequestError, RunFailed
from conftest import train_here

TEXT_LENGTH = 3000
SMALL = (
    "data=text", "model.hidden=6", "data.batch_size=3", "data.sequence_length=7", "trainer.accelerator=cpu",
    "threads=1", "trainer.max_steps=60", "trainer.val_check_interval=20", "trainer.log_every_n_steps=5",
)  # fmt: skip


class Ending(Callback):
    """Stops the run, or raises an error, in one hook at the first call after one step."""

    def __init__(self, hook: str, step: int, error: str | None = None) -> None:
        def act(trainer: Any, *_: Any, **named: Any) -> None:
            if trainer.global_step >= step:
                if error == "interrupt":
                    raise KeyboardInterrupt
                if error is not None:
                    raise ZeroDivisionError(error)
                trainer.should_stop = True

        setattr(self, hook, act)


class Remembers(Callback):
    """Has a state that a checkpoint can't hold, from one step on."""

    def __init__(self, value: str, step: int = 0) -> None:
        kinds = {"number": np.float64(0.5), "path": Path("a"), "set": {1, 2}, "array": np.ones(2)}
        self.value: Any = kinds.get(value, datetime.datetime(2026, 1, 1))
        self.step, self.now, self.loaded = step, 0, None

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self.now = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        return {"inner": [{"kept": self.value if self.now >= self.step else None}]}


def ends(folder: Path, text: Path, *overrides: str) -> dict[str, Any]:
    """Run, and return the summary after checking that the last step is saved, validated and scored."""
    summary = train_here(folder, *SMALL, *overrides, path=text)
    last, best = (checkpoint_file.read(folder / "checkpoints" / f"{name}.ckpt") for name in ("last", "best"))
    assert last["global_step"] == summary["steps"] and best["global_step"] == summary["best_step"]
    assert summary["val_bits_per_char"] > 0 and summary["test_bits_per_char"] > 0
    return summary


HOOKS = ("on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_validation_end", "on_train_epoch_end")


@pytest.mark.parametrize("hook", HOOKS)
def test_1_a_callback_that_stops_the_run(hook: str, text: Path, tmp_path: Path) -> None:
    ending = f"+callbacks.t={{_target_: test_endings.Ending, hook: {hook}, step: 33}}"
    summary = ends(tmp_path, text, ending, "data.batch_size=8", "data.sequence_length=9")
    assert summary["status"] == "finished" and 33 <= summary["steps"] < 60
    assert summary["reason"] == f"stopped by callbacks.t (Ending) after step {summary['steps']}"
    assert summary["best_step"] == summary["steps"]


def test_1_a_stopped_run_resumes_to_the_same_end(text: Path, tmp_path: Path) -> None:
    whole = ends(tmp_path / "whole", text)
    stop = "+callbacks.t={_target_: test_endings.Ending, hook: on_train_batch_end, step: 33}"
    ends(tmp_path / "stopped", text, stop)
    resumed = ends(tmp_path / "stopped", text, "resume_from=last")
    assert (resumed["steps"], resumed["reason"]) == (60, None)
    assert resumed["val_bits_per_char"] == whole["val_bits_per_char"]


@pytest.mark.parametrize("accumulate", [1, 4])
def test_1_a_time_limit(accumulate: int, text: Path, tmp_path: Path) -> None:
    long = ("trainer.max_steps=1000000", "max_minutes=0.002", f"trainer.accumulate_grad_batches={accumulate}")
    summary = ends(tmp_path, text, *long)
    assert summary["status"] == "finished" and 0 < summary["steps"] < 1000000
    assert summary["reason"] == f"stopped by max_minutes (TimeLimit) after step {summary['steps']:,}"


def test_1_a_time_limit_counts_all_processes_of_a_run(text: Path, tmp_path: Path) -> None:
    timer = "+callbacks.t={_target_: lightning.pytorch.callbacks.Timer, duration: {seconds: 100}}"
    command = ("trainer.max_steps=1000000", "max_minutes=0.002", timer)
    first = ends(tmp_path, text, *command)
    curves = [{**row, "speed/chars_per_second": ""} for row in read_metrics(tmp_path / "metrics.csv")]
    assert "bits_per_char/val" in curves[-1]
    second = ends(tmp_path, text, *command, "resume_from=last")
    again = [{**row, "speed/chars_per_second": ""} for row in read_metrics(tmp_path / "metrics.csv")]
    assert again == curves
    assert (second["steps"], second["val_bits_per_char"]) == (first["steps"], first["val_bits_per_char"])
    third = ends(tmp_path, text, *command, "max_minutes=0.006", "resume_from=last")
    assert third["steps"] > first["steps"]


def test_1_a_callback_that_interrupts(text: Path, tmp_path: Path) -> None:
    ending = "+callbacks.t={_target_: test_endings.Ending, hook: on_train_batch_end, step: 33, error: interrupt}"
    summary = ends(tmp_path, text, ending)
    assert (summary["status"], summary["steps"]) == ("finished", 33)


@pytest.mark.parametrize("hook", [*HOOKS, "on_train_end", "on_save_checkpoint"])
def test_1_a_callback_that_raises(hook: str, text: Path, tmp_path: Path) -> None:
    ending = f"+callbacks.t={{_target_: test_endings.Ending, hook: {hook}, step: 33, error: no luck}}"
    with pytest.raises(RunFailed, match=r"callbacks.t \(Ending\) raised ZeroDivisionError: no luck"):
        train_here(tmp_path, *SMALL, ending, "data.batch_size=8", "data.sequence_length=9", path=text)
    summary = read_summary(tmp_path)
    assert summary["status"] == "failed" and "callbacks.t (Ending) raised ZeroDivisionError" in summary["reason"]
    assert summary["val_bits_per_char"] > 0 and summary["best_step"] == summary["steps"] >= 33
    last = checkpoint_file.read(tmp_path / "checkpoints" / "last.ckpt")
    assert last["global_step"] == summary["steps"] and (summary["steps"] < 60 or hook == "on_train_end")


@pytest.mark.parametrize("hook", ["setup", "on_fit_start", "on_train_start"])
def test_1_a_callback_that_raises_before_training_is_refused(hook: str, text: Path, tmp_path: Path) -> None:
    ending = f"+callbacks.t={{_target_: test_endings.Ending, hook: {hook}, step: 0, error: no luck}}"
    with pytest.raises(RequestError, match=r"callbacks.t \(Ending\) can't be used here: ZeroDivisionError: no luck"):
        train_here(tmp_path, *SMALL, ending, path=text)


@pytest.mark.parametrize("value", ["number", "path", "set", "array"])
def test_2_a_callback_with_a_state_of_other_values(value: str, text: Path, tmp_path: Path) -> None:
    summary = ends(tmp_path, text, f"+callbacks.t={{_target_: test_endings.Remembers, value: {value}}}")
    assert summary["status"] == "finished"
    state = checkpoint_file.read(tmp_path / "checkpoints" / "last.ckpt")["callbacks"]["Remembers"]
    expected = {"number": 0.5, "path": "a", "set": {1, 2}, "array": [1.0, 1.0]}
    assert state["inner"][0]["kept"] == expected[value]


def test_2_a_state_that_can_not_be_saved_is_refused_at_once(text: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"callback Remembers has a value of type datetime at \['inner'\]\[0\]"):
        train_here(tmp_path, *SMALL, "+callbacks.t={_target_: test_endings.Remembers, value: time}", path=text)
    assert not list(tmp_path.glob("checkpoints/*.ckpt"))


def test_2_a_state_that_can_not_be_saved_later_loses_nothing_else(text: Path, tmp_path: Path) -> None:
    summary = ends(tmp_path, text, "+callbacks.t={_target_: test_endings.Remembers, value: time, step: 30}")
    assert (summary["status"], summary["steps"]) == ("finished", 60)
    assert "Remembers" not in checkpoint_file.read(tmp_path / "checkpoints" / "last.ckpt")["callbacks"]


def test_2_plain_values_can_be_read_back(tmp_path: Path) -> None:
    value = {"a": [np.int64(3), (None, 1.5)], np.str_("b"): {"c": np.eye(2), "d": frozenset([Path("x")])}}
    checkpoint_file.write({"state_dict": {}, "charrnn": {"format": 2}, "v": plain_value(value)}, tmp_path / "a.ckpt")
    expected = {"a": [3, (None, 1.5)], "b": {"c": [[1.0, 0.0], [0.0, 1.0]], "d": {"x"}}}
    assert checkpoint_file.read(tmp_path / "a.ckpt")["v"] == expected
    with pytest.raises(NotPlain, match=r"type function at \['f'\]"):
        plain_value({"f": len, "g": 1} | {"f": ends})


class Explodes(Callback):
    """Makes the weights of the recurrence so large that the validation loss is NaN, after one step only."""

    def __init__(self, step: int, value: str = "inf") -> None:
        self.step, self.value = step, float(value)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step == self.step:
            pl_module.network.output_bias.data.fill_(self.value)


def test_x3_a_validation_that_is_nan_goes_back_to_the_last_good_weights(
    text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summary = ends(tmp_path, text, "+callbacks.t={_target_: test_endings.Explodes, step: 40}")
    assert (summary["status"], summary["steps"]) == ("finished", 60)
    last = checkpoint_file.read(tmp_path / "checkpoints" / "last.ckpt")
    assert last["callbacks"]["Recovery"]["used"] == 1
    assert "the validation loss is nan at step 40" in caplog.text  # not only the training loss after it
    assert all(weight.isfinite().all() for weight in last["state_dict"].values())


@pytest.mark.parametrize("value", ["inf", "nan"])
def test_x3_a_run_whose_last_validation_is_nan_keeps_the_best(value: str, text: Path, tmp_path: Path) -> None:
    explodes = f"+callbacks.t={{_target_: test_endings.Explodes, step: 60, value: {value}}}"
    summary = train_here(tmp_path, *SMALL, explodes, path=text)
    assert (summary["status"], summary["best_step"]) == ("finished", 40)
    assert math.isfinite(summary["val_bits_per_char"])


def test_x3_a_score_that_is_nan_fails_the_run(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn import experiment

    score = experiment.score
    monkeypatch.setattr(experiment, "score", lambda *each: {**score(*each), "test_bits_per_char": math.nan})
    with pytest.raises(RunFailed, match="the test loss of the weights of step 60 is nan"):
        train_here(tmp_path, *SMALL, path=text)
    assert read_summary(tmp_path)["status"] == "failed"


class FullDisk:
    """A disk with room for so many bytes: what is written beyond them fails, as in `OSError` of a full disk."""

    def __init__(self, room: int, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.room, self.folder = room, folder
        original = os.fdopen

        def opened(descriptor: int, *arguments: Any, **named: Any) -> Any:
            file = original(descriptor, *arguments, **named)
            return Limited(file, self) if "w" in (arguments or ("r",))[0] else file

        patch.setattr("charrnn.utils.files.os.fdopen", opened)

    def used(self) -> int:
        return sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


class Limited:
    def __init__(self, file: Any, disk: FullDisk) -> None:
        self.file, self.disk = file, disk

    def __enter__(self) -> "Limited":
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: Any) -> int:
        if len(content) + self.disk.used() > self.disk.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self.file.write(content))


@pytest.mark.parametrize("kilobytes", [1, 8, 20, 40, 70, 100, 200, 400])
def test_x2_a_full_disk_keeps_what_was_saved(
    kilobytes: int, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    FullDisk(1000 * kilobytes, tmp_path, monkeypatch)
    full = "No space left on device"
    try:
        summary = train_here(tmp_path, *SMALL, path=text)
    except RunFailed as failed:
        assert full in str(failed) and "\n" not in str(failed)
    else:
        assert summary["status"] == "finished"
        whole = summary["reason"] is None
        assert whole or full in summary["reason"]
        assert whole == (f"ckpt ({full}" not in caplog.text)
    for file in tmp_path.rglob("*.ckpt"):
        assert checkpoint_file.read(file)["global_step"] <= 60
    assert not list(tmp_path.rglob("*.tmp"))
