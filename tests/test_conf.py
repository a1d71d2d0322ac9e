"""Every option of every group composes, and what it describes can be built."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from charrnn import building
from charrnn.errors import RequestError
from conftest import ROOT

GROUPS = ("model", "data", "optimizer", "scheduler", "trainer")
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((ROOT / "conf" / group).glob("*.yaml"))]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        return compose("config", overrides=list(overrides))


def test_every_group_has_its_folder() -> None:
    assert {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()} == {*GROUPS, "hydra"}
    assert set(composed()) == set(building.TOP_LEVEL_KEYS)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_builds(group: str, option: str, text_file: Path) -> None:
    cfg = composed(f"{group}={option}", f"++data.path={text_file}", "++data.sha256=null")
    data = building.build(cfg, "data")
    network = building.build(cfg, "model", vocabulary_size=len(data.vocabulary))
    parameters = list(network.parameters())
    optimizer = building.build_optimizer(cfg, network)(parameters)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert sum(p.numel() for p in optimizer.param_groups[0]["params"]) == network.parameter_count()
    scheduler = building.build_scheduler(cfg, 100)(optimizer)
    assert scheduler.optimizer is optimizer
    if group == "trainer" and option in ("gpu", "mps"):  # built where there is one
        assert cfg.trainer.accelerator == option
        return
    trainer = instantiate(cfg.trainer, logger=False, enable_checkpointing=False, check_val_every_n_epoch=None)
    assert trainer.num_devices == 1


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adagrad"])
def test_the_fused_form_is_taken_where_there_is_one(name: str) -> None:
    cfg = composed(f"optimizer={name}")
    network = building.build(cfg, "model", vocabulary_size=7)
    assert building.build_optimizer(cfg, network)(list(network.parameters())).defaults["fused"] is True
    cfg = composed(f"optimizer={name}", "trainer.precision=16-mixed")
    assert building.build_optimizer(cfg, network)(list(network.parameters())).defaults["fused"] is None


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_recurrent_start_is_chosen_in_the_configuration(activation: str) -> None:
    cfg = composed(f"model.activation={activation}", "model.hidden=8")
    (cell,) = building.build(cfg, "model", vocabulary_size=7).cells
    is_identity = torch.allclose(cell.hidden_to_hidden, cfg.model.recurrent_gain * torch.eye(8))
    assert is_identity == (activation == "relu")


@pytest.mark.parametrize(
    ("max_steps", "max_epochs", "accumulate", "steps"),
    [(10, -1, 1, 10), (-1, 3, 1, 21), (None, 3, 1, 21), (10, 3, 1, 10), (100, 3, 1, 21), (-1, 3, 2, 12)],
)
def test_the_first_limit_reached_ends_the_run(max_steps: Any, max_epochs: Any, accumulate: int, steps: int) -> None:
    trainer = OmegaConf.create({"accumulate_grad_batches": accumulate})
    assert building.run_length(max_steps, max_epochs, 7, trainer) == steps


@pytest.mark.parametrize(("max_steps", "max_epochs"), [(-1, None), (0, -1), (-1, 1.5), ("abc", 1), (True, 1)])
def test_a_run_without_an_end_is_refused(max_steps: Any, max_epochs: Any) -> None:
    with pytest.raises(RequestError):
        building.run_length(max_steps, max_epochs, 7, OmegaConf.create({"accumulate_grad_batches": 1}))


def test_a_fault_of_the_program_is_no_wrong_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **keywords: Any) -> None:
        raise KeyError("gone")

    monkeypatch.setattr("charrnn.network.CharRNN.__init__", broken)
    with pytest.raises(KeyError, match="gone"):
        building.build(composed(), "model", vocabulary_size=7)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert 1 <= building.default_threads() <= building.MOST_THREADS
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert building.default_threads() == 3
