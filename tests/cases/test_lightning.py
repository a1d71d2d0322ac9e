"""Every callback of Lightning, optimizer and schedule of torch works in a short run, or is refused at once."""

import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import callbacks as lightning_callbacks
from omegaconf import OmegaConf, open_dict

from charrnn import experiment
from charrnn.runs import checkpoint_file
from charrnn.runs.folder import read_summary
from charrnn.utils.errors import RequestError, RunFailed
from conftest import composed, train_here

TEXT_LENGTH = 2000
SMALL = (
    "data=text", "model.hidden=6", "data.batch_size=3", "data.sequence_length=7", "trainer.accelerator=cpu",
    "threads=1", "trainer.max_steps=12", "trainer.val_check_interval=4", "trainer.log_every_n_steps=2",
)  # fmt: skip


def classes(module: Any, base: type) -> list[str]:
    return [name for name, each in vars(module).items() if inspect.isclass(each) and issubclass(each, base)]


SCHEDULES = [name for name in classes(torch.optim.lr_scheduler, torch.optim.lr_scheduler.LRScheduler) if name[0] != "_"]
OPTIMIZERS = [name for name in classes(torch.optim, torch.optim.Optimizer) if name != "Optimizer"]
# What a class needs; those without a default.
ARGUMENTS: dict[str, str] = {
    "EarlyStopping": "monitor: bits_per_char/val",
    "ModelCheckpoint": "monitor: bits_per_char/val, save_top_k: 2",
    "OnExceptionCheckpoint": "dirpath: elsewhere",
    "BasePredictionWriter": "",
    "GradientAccumulationScheduler": "scheduling: {0: 2}",
    "ModelPruning": "pruning_fn: l1_unstructured, amount: 0.2",
    "StochasticWeightAveraging": "swa_lrs: 1e-3",
    "ThroughputMonitor": "batch_size_fn: {_target_: builtins.len, _partial_: true}",
    "DeviceStatsMonitor": "cpu_stats: false",
    **dict.fromkeys(OPTIMIZERS, "lr: 1e-3"),
    "StepLR": "step_size: 5",
    "MultiStepLR": "milestones: [5, 9]",
    "ExponentialLR": "gamma: 0.9",
    "CosineAnnealingLR": "T_max: 12",
    "CosineAnnealingWarmRestarts": "T_0: 10",
    "CyclicLR": "base_lr: 1e-4, max_lr: 1e-2",
    "OneCycleLR": "max_lr: 1e-2, total_steps: null",
    "LambdaLR": "lr_lambda: {_target_: math.cos, _partial_: true}",
    "MultiplicativeLR": "lr_lambda: {_target_: math.cos, _partial_: true}",
}
REFUSED = {
    "BackboneFinetuning", "BaseFinetuning", "BatchSizeFinder", "LearningRateFinder", "ModelPruning",
    "OnExceptionCheckpoint",
    "StochasticWeightAveraging", "RichModelSummary", "RichProgressBar",  # rich is not installed
    "LBFGS", "SparseAdam", "Muon",
    "ChainedScheduler", "LRScheduler", "SequentialLR",
}  # fmt: skip


def settings(package: str, name: str) -> str:
    return f"{{_target_: {', '.join(filter(None, (f'{package}.{name}', ARGUMENTS.get(name))))}}}"


def check(name: str, folder: Path, text: Path, group: str, package: str) -> None:
    """Train, or expect one line that names the class."""
    cfg = composed("callbacks=none", *SMALL, "data.path=''")
    cfg.data.path = str(text)
    chosen = OmegaConf.create(settings(package, name))
    with open_dict(cfg):
        cfg[group] = {"t": chosen} if group == "callbacks" else chosen
    if name in REFUSED:
        with pytest.raises(RequestError, match=name) as refused:
            experiment.run(cfg, folder)
        assert "\n" not in str(refused.value)
        return
    experiment.run(cfg, folder)
    summary = read_summary(folder)
    assert (summary["status"], summary["steps"], summary["reason"]) == ("finished", 12, None)
    assert math.isfinite(summary["val_bits_per_char"])
    assert checkpoint_file.read(folder / "checkpoints" / "last.ckpt")["global_step"] == 12


@pytest.mark.parametrize("name", lightning_callbacks.__all__)
def test_x9_every_callback_of_lightning(name: str, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check(name, tmp_path, text, "callbacks", "lightning.pytorch.callbacks")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_x13_every_optimizer_of_torch(name: str, text: Path, tmp_path: Path) -> None:
    check(name, tmp_path, text, "optimizer", "torch.optim")


@pytest.mark.parametrize("name", SCHEDULES)
def test_x13_every_schedule_of_torch(name: str, text: Path, tmp_path: Path) -> None:
    check(name, tmp_path, text, "scheduler", "torch.optim.lr_scheduler")


def test_x13_what_is_no_class_of_the_group(text: Path, tmp_path: Path) -> None:
    for override in ("scheduler._target_=builtins.dict", "+callbacks.t={_target_: torch.nn.Flatten}"):
        with pytest.raises(RequestError, match="must name a class of"):
            train_here(tmp_path, *SMALL, override, path=text)


@pytest.mark.parametrize("metric", ["bits_per_char/val", "nats_per_char/val", "nats_per_char/train", "gradient_norm"])
def test_15_every_logged_metric_can_be_monitored(metric: str, text: Path, tmp_path: Path) -> None:
    name = f"optimizer/{metric}" if metric == "gradient_norm" else metric
    stopping = f"+callbacks.t={{_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: {name}, min_delta: 99, "
    summary = train_here(tmp_path, *SMALL, stopping + "patience: 1}", path=text)
    assert (summary["status"], summary["steps"]) == ("finished", 8)
    assert summary["reason"] == "stopped by callbacks.t (EarlyStopping) after step 8"


def test_15_an_unknown_metric_is_named_with_those_that_exist(text: Path, tmp_path: Path) -> None:
    stopping = "+callbacks.t={_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val_loss}"
    with pytest.raises(RunFailed, match=r"`val_loss` which is not available.*`bits_per_char/val`"):
        train_here(tmp_path, *SMALL, stopping, path=text)


def test_x9_averaged_weights_resume_to_the_same_end(text: Path, tmp_path: Path) -> None:
    averaging = "+callbacks.t={_target_: lightning.pytorch.callbacks.EMAWeightAveraging, decay: 0.5}"
    whole = train_here(tmp_path / "whole", *SMALL, averaging, path=text)
    train_here(tmp_path / "parts", *SMALL, averaging, "scheduler.total_steps=12", "trainer.max_steps=8", path=text)
    parts = train_here(tmp_path / "parts", *SMALL, averaging, "scheduler.total_steps=12", "resume_from=last", path=text)
    assert parts["val_nats_per_char"] == whole["val_nats_per_char"]


def test_17_the_report_of_a_profiler(text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train_here(tmp_path, *SMALL, "+trainer.profiler=simple", path=text)
    assert "Profile Summary" in caplog.text or "Profiler Report" in caplog.text
