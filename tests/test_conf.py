"""Every option of every config group can be built, and every recipe trains."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from charrnn.data.datamodule import CharDataModule
from charrnn.network import CharRNN
from charrnn.training import builders, config_checks
from charrnn.training.configured_callbacks import build_callbacks
from charrnn.training.distributed.ranks import find_ranks
from charrnn.training.loggers import Loggers
from charrnn.training.resume import Start
from charrnn.training.run_state import RunState
from conftest import ROOT, composed, train_here

GROUPS = ("model", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger")
RECIPES = sorted(file.stem for file in (ROOT / "conf" / "experiment").glob("*.yaml"))
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((ROOT / "conf" / group).glob("*.yaml"))]


def test_every_group_has_its_folder() -> None:
    folders = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()}
    assert folders == {*GROUPS, "experiment", "hydra", "search"}
    assert set(composed()) == set(config_checks.TOP_LEVEL_KEYS)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_builds(group: str, option: str, text_file: Path, tmp_path: Path) -> None:
    cfg = composed(f"{group}={option}", f"++data.path={text_file}", "++data.sha256=null")
    data = builders.build(cfg, "data", CharDataModule)
    network = builders.build(cfg, "model", CharRNN, vocabulary_size=len(data.vocabulary))
    parameters = list(network.parameters())
    optimizer = builders.build_optimizer(cfg)(parameters)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert sum(p.numel() for p in optimizer.param_groups[0]["params"]) == network.parameter_count()
    scheduler = builders.build_scheduler(cfg, 100)(optimizer)
    assert scheduler.optimizer is optimizer
    available = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if group == "trainer" and not available.get(option, True):
        assert cfg.trainer.accelerator == option
        pytest.skip(f"no {option} device on this machine")
    available = [name for name in cfg.logger if name not in ("wandb", "mlflow")]
    if len(available) < len(cfg.logger):
        pytest.skip(f"{option} is not installed")
    loggers = Loggers(cfg, tmp_path, Start(None, 0)).all
    assert len(loggers) == len(cfg.logger) + 1
    callbacks = build_callbacks(cfg, RunState(), validates=True)
    assert len(callbacks) == len(cfg.callbacks)
    ranks = find_ranks(cfg.trainer.devices, cfg.trainer.num_nodes)
    trainer = builders.build_trainer(cfg, data, loggers, callbacks, ranks)
    assert trainer.num_devices == ranks.size == (2 if option == "ddp" else 1)
    assert trainer.gradient_clip_val == 1.0


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adagrad"])
def test_the_fused_optimizer_is_used_if_available(name: str) -> None:
    cfg = composed(f"optimizer={name}")
    network = builders.build(cfg, "model", CharRNN, vocabulary_size=7)
    assert builders.build_optimizer(cfg)(list(network.parameters())).defaults["fused"] is True
    cfg = composed(f"optimizer={name}", "trainer.precision=16-mixed")
    assert builders.build_optimizer(cfg)(list(network.parameters())).defaults["fused"] is None


@pytest.mark.parametrize("name", ["NAdam", "ASGD"])
def test_any_class_of_torch_optim(name: str) -> None:
    """Some have no fused version. Lists must reach the optimizer as plain lists, since checkpoints store them."""
    betas = ["~optimizer.betas", "~optimizer.weight_decay"] if name == "ASGD" else []
    cfg = composed(f"optimizer._target_=torch.optim.{name}", *betas)
    network = builders.build(cfg, "model", CharRNN, vocabulary_size=7)
    optimizer = builders.build_optimizer(cfg)(list(network.parameters()))
    assert type(optimizer).__name__ == name
    assert not any(OmegaConf.is_config(value) for value in optimizer.param_groups[0].values())


def test_the_shakespeare_option_has_the_common_text_and_split() -> None:
    data = composed("data=shakespeare").data
    assert data.sha256 == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert (data.validation_fraction, data.test_fraction) == (0.1, 0.0)
    assert data.path.startswith("https://")


@pytest.mark.parametrize(
    ("max_steps", "max_epochs", "accumulate", "steps"),
    [(10, -1, 1, 10), (-1, 3, 1, 21), (None, 3, 1, 21), (10, 3, 1, 10), (100, 3, 1, 21), (-1, 3, 2, 12)],
)
def test_the_first_limit_reached_ends_the_run(max_steps: Any, max_epochs: Any, accumulate: int, steps: int) -> None:
    limits = {"max_steps": max_steps, "max_epochs": max_epochs, "accumulate_grad_batches": accumulate}
    assert config_checks.run_length(OmegaConf.create(limits), 7) == steps


def test_a_bug_is_not_reported_as_an_invalid_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **keywords: Any) -> None:
        raise KeyError("gone")

    monkeypatch.setattr("charrnn.network.char_rnn.CharRNN.__init__", broken)
    with pytest.raises(KeyError, match="gone"):
        builders.build(composed(), "model", CharRNN, vocabulary_size=7)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains(name: str, text_file: Path, tmp_path: Path) -> None:
    overrides = (
        "data.sha256=null", "data.sequence_length=8", "data.validation_fraction=0.01", "data.test_fraction=0.01",
        "trainer.max_steps=2", "trainer.accelerator=cpu", "threads=1",
        "optimizer.lr=1e-4",  # two steps have no warm-up, and the rates of the recipes need one
    )  # fmt: skip
    assert train_here(tmp_path, f"experiment={name}", *overrides, path=text_file)["steps"] == 2
