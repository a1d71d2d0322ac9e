import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_stopping import signal_at

from charrnn.module import CharRNNModule
from charrnn.runs import checkpoint_file
from charrnn.runs.folder import read_summary
from charrnn.training.callbacks.checkpoint import Checkpoints
from charrnn.training.callbacks.progress import Curves
from charrnn.training.callbacks.recovery import Recovery
from charrnn.training.run_state import RunState
from charrnn.utils.errors import RunFailed, Stopped
from conftest import train_here

SMALL = (
    "data=text", "model.hidden=6", "data.batch_size=3", "data.sequence_length=7", "trainer.accelerator=cpu",
    "trainer.max_steps=40", "threads=1", "trainer.val_check_interval=20", "trainer.log_every_n_steps=4",
    "checkpoint_every=10", "scheduler=constant", "optimizer=sgd", "optimizer.lr=0.1",
)  # fmt: skip


def train(folder: Path, text: Path, *overrides: str) -> dict[str, Any]:
    return train_here(folder, *SMALL, *overrides, path=text)


def spoil(patch: pytest.MonkeyPatch, steps: set[int], factor: float, *, gradient_of: str = "") -> None:
    """Multiply the loss, or the gradient of one parameter, by `factor`, once in each of these steps."""
    original = CharRNNModule.training_step

    def training_step(self: CharRNNModule, batch: Any, batch_idx: int) -> Any:
        loss = original(self, batch, batch_idx)
        step = self.global_step + 1
        if step not in steps:
            return loss
        steps.remove(step)
        if gradient_of:
            parameter = dict(self.network.named_parameters())[gradient_of]
            handle = parameter.register_hook(lambda gradient: (handle.remove(), gradient * factor)[1])
            return loss
        self.training_metrics._losses.pop()
        self.training_metrics.add_loss(step, batch.targets_TB.numel(), loss * factor)
        return loss * factor

    patch.setattr(CharRNNModule, "training_step", training_step)


@pytest.mark.parametrize(
    ("gradient_of", "trouble"),
    [
        ("", "the loss is nan at step 26"),
        ("cells.0.hidden_to_hidden", "the gradient of cells.0.hidden_to_hidden is nan at step 26"),
        ("output_bias", "the gradient of output_bias is nan at step 26"),
    ],
)
@pytest.mark.parametrize("schedule", ["constant", "cosine", "plateau", "step"])
def test_training_continues_from_the_last_checkpoint_with_a_lower_rate(
    text_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, gradient_of: str, trouble: str, schedule: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch, {26}, math.nan, gradient_of=gradient_of)
        summary = train(tmp_path, text_file, f"scheduler={schedule}")
    assert f"{trouble}; continuing from the weights of step 20" in caplog.text
    assert "with learning rate x 0.5 (recovery 1 of 3)" in caplog.text
    assert (summary["status"], summary["steps"]) == ("finished", 40)
    last = checkpoint_file.read(tmp_path / "checkpoints" / "last.ckpt")
    assert all(tensor.isfinite().all() for tensor in last["state_dict"].values())
    points = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0}).Reload()
    rates = {event.step: event.value for event in points.Scalars("optimizer/learning_rate")}
    assert rates[40] < 0.51 * rates[24]
    assert last["callbacks"]["Recovery"]["used"] == 1


def test_a_single_spike_is_not_an_explosion(text_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch, {9, 10}, 100.0)
        train(tmp_path / "moment", text_file, "recovery.patience=2")
    assert "continuing from the weights" not in caplog.text
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch, set(range(9, 17)), 100.0)
        train(tmp_path / "lasting", text_file, "recovery.patience=2")
    assert "at step 16, its minimum was" in caplog.text
    assert "continuing from the weights of step 0" in caplog.text  # step 10 was already too high


@pytest.mark.parametrize(("gain", "advice"), [(0.8, "a lower"), (1.1, "model.recurrent_gain below 1 or a lower")])
def test_the_run_fails_after_the_last_retry(gain: float, advice: str, text_file: Path, tmp_path: Path) -> None:
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(RunFailed, match=f"step 23 after 2 recoveries; start over with {advice} optimizer.lr"),
    ):
        spoil(patch, {9, 17, 23}, math.inf)
        train(tmp_path, text_file, "recovery.retries=2", f"model.recurrent_gain={gain}")
    summary = read_summary(tmp_path)
    assert summary["status"] == "failed"
    assert "the loss is inf at step 23" in summary["reason"]
    last = checkpoint_file.read(tmp_path / "checkpoints" / "last.ckpt")
    assert all(tensor.isfinite().all() for tensor in last["state_dict"].values())


def test_no_checkpoint_holds_nan(text_file: Path, tmp_path: Path) -> None:
    """Also if a checkpoint is due before the next metrics."""
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch, {9}, math.nan)
        train(tmp_path, text_file, "trainer.log_every_n_steps=40", "trainer.max_steps=10")
    last = checkpoint_file.read(tmp_path / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 10
    assert all(tensor.isfinite().all() for tensor in last["state_dict"].values())


def test_a_loss_below_the_uniform_loss_is_not_an_explosion(tmp_path: Path) -> None:
    state = RunState()
    checkpoints = Checkpoints(tmp_path, state, every=10, minutes=10, validate_every=20, steps=40)
    recovery = Recovery(checkpoints, state, retries=3, factor=0.5, explosion=3.0, patience=2)
    uniform = math.log(90)
    assert [recovery._check_loss(nats, uniform, step) for step, nats in enumerate([1e-4, 2.45, 4.4, 0.1])] == [None] * 4
    assert recovery._check_loss(4.6, uniform, 4) is None
    assert recovery._check_loss(4.6, uniform, 5) == "the loss is 4.6 at step 5, its minimum was 0.0001"


def test_a_stop_between_a_nan_and_its_discovery_saves_no_nan(text_file: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        spoil(patch, {21}, math.nan)
        signal_at(Curves, "on_train_batch_end", 22, signal.SIGTERM, patch)
        train(tmp_path, text_file)
    assert read_summary(tmp_path)["steps"] == 20
    assert train(tmp_path, text_file, "resume_from=last")["status"] == "finished"


def test_denormal_numbers_are_flushed(text_file: Path, tmp_path: Path) -> None:
    train(tmp_path, text_file, "trainer.max_steps=1")
    assert float(torch.full((), 1e-30) * 1e-10) == 0.0
