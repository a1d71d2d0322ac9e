"""Every option of every group composes, and what it describes can be built."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf

from charrnn import building, checks
from charrnn.errors import RequestError
from charrnn.ranks import Ranks, find_ranks
from conftest import ROOT, composed

GROUPS = ("model", "data", "optimizer", "scheduler", "trainer", "callbacks")
OPTIONS = [(group, file.stem) for group in GROUPS for file in sorted((ROOT / "conf" / group).glob("*.yaml"))]


def test_every_group_has_its_folder() -> None:
    assert {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()} == {
        *GROUPS,
        "experiment",
        "hydra",
        "search",
    }
    assert set(composed()) == set(checks.TOP_LEVEL_KEYS)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_builds(group: str, option: str, text_file: Path, tmp_path: Path) -> None:
    cfg = composed(f"{group}={option}", f"++data.path={text_file}", "++data.sha256=null")
    data = building.build(cfg, "data")
    network = building.build(cfg, "model", vocabulary_size=len(data.vocabulary))
    parameters = list(network.parameters())
    optimizer = building.build_optimizer(cfg, network)(parameters)
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert sum(p.numel() for p in optimizer.param_groups[0]["params"]) == network.parameter_count()
    scheduler = building.build_scheduler(cfg, 100)(optimizer)
    assert scheduler.optimizer is optimizer
    there = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if group == "trainer" and not there.get(option, True):
        assert cfg.trainer.accelerator == option
        pytest.skip(f"no {option} device on this machine")
    callbacks = building.build_callbacks(cfg)
    assert len(callbacks) == len(cfg.callbacks)
    ranks = find_ranks(cfg.trainer.devices, cfg.trainer.num_nodes)
    trainer = building.build_trainer(cfg, data, TensorBoardLogger(tmp_path), callbacks, ranks)
    assert trainer.num_devices == ranks.size == (2 if option == "ddp" else 1)
    assert trainer.gradient_clip_val == 1.0


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "adagrad"])
def test_the_fused_form_is_taken_where_there_is_one(name: str) -> None:
    cfg = composed(f"optimizer={name}")
    network = building.build(cfg, "model", vocabulary_size=7)
    assert building.build_optimizer(cfg, network)(list(network.parameters())).defaults["fused"] is True
    cfg = composed(f"optimizer={name}", "trainer.precision=16-mixed")
    assert building.build_optimizer(cfg, network)(list(network.parameters())).defaults["fused"] is None


@pytest.mark.parametrize("name", ["NAdam", "Adamax", "RAdam", "ASGD"])
def test_any_class_of_torch_optim(name: str) -> None:
    """Also one that has no fused form; and lists of the configuration must not reach its state."""
    betas = ["~optimizer.betas", "~optimizer.weight_decay"] if name == "ASGD" else []
    cfg = composed(f"optimizer._target_=torch.optim.{name}", *betas)
    network = building.build(cfg, "model", vocabulary_size=7)
    optimizer = building.build_optimizer(cfg, network)(list(network.parameters()))
    assert type(optimizer).__name__ == name
    assert not any(OmegaConf.is_config(value) for value in optimizer.param_groups[0].values())


def test_the_shakespeare_option_is_the_text_and_the_split_that_everyone_quotes() -> None:
    data = composed("data=shakespeare").data
    assert data.sha256 == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
    assert (data.validation_fraction, data.test_fraction) == (0.1, 0.0)
    assert data.path.startswith("https://")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.gradient_clip_val=0"], "would stop all learning; write null"),
        (["trainer.gradient_clip_val=-1"], "gradient_clip_val must be a number of at least 0"),
        (["trainer.precision=16"], "trainer.precision must be one of 32-true"),
        (["trainer.gradient_clip_algorithm=foo"], "must be one of norm, value"),
        (["trainer.deterministic=maybe"], "trainer.deterministic must be true, false or warn"),
    ],
)
def test_what_the_trainer_must_not_do(overrides: list[str], message: str, text_file: Path, tmp_path: Path) -> None:
    cfg = composed(f"data.path={text_file}", *overrides)
    with pytest.raises(RequestError, match=message):
        building.build_trainer(cfg, building.build(cfg, "data"), TensorBoardLogger(tmp_path), [], Ranks())


def test_validations_come_after_whole_steps(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="val_check_interval must be a positive integer"):
        building.build_checkpoints(composed("trainer.val_check_interval=0.5"), tmp_path, 10)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optimizer.lr=fast"], "optimizer.lr must be a number"),
        (["optimizer.weight_decay=much"], "optimizer.weight_decay must be a number, got 'much'"),
        (["optimizer.fused=maybe"], "optimizer.fused must be auto, true, false or null"),
        (["optimizer.lr=-1"], "optimizer.lr must be a number of at least 0"),
        (["scheduler=step", "scheduler.step_size=0"], "can't step with these settings"),
        (["scheduler=step", "scheduler.gamma=abc"], "scheduler.gamma must be a number, got 'abc'"),
        (["scheduler=plateau", "scheduler.patience=abc"], "scheduler.patience must be a number"),
        (["scheduler=plateau", "data.validation_fraction=0"], "set data.validation_fraction above 0"),
        (["+scheduler.foo=1"], "scheduler.foo is not a setting here"),
        (["+optimizer.foo=1"], "optimizer.foo is not a setting here"),
    ],
)
def test_what_optimizer_and_schedule_must_not_be(overrides: list[str], message: str) -> None:
    cfg = composed(*overrides)
    network = building.build(cfg, "model", vocabulary_size=7)
    with pytest.raises(RequestError, match=message):
        building.build_scheduler(cfg, 100)(building.build_optimizer(cfg, network)(list(network.parameters())))


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
    assert checks.run_length(max_steps, max_epochs, 7, trainer) == steps


@pytest.mark.parametrize(("max_steps", "max_epochs"), [(-1, None), (0, -1), (-1, 1.5), ("abc", 1), (True, 1)])
def test_a_run_without_an_end_is_refused(max_steps: Any, max_epochs: Any) -> None:
    with pytest.raises(RequestError):
        checks.run_length(max_steps, max_epochs, 7, OmegaConf.create({"accumulate_grad_batches": 1}))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+trainer.logger=false"], "trainer.logger is set by the run itself"),
        (["+trainer.limit_train_batches=3"], "trainer.limit_train_batches is set by the run itself"),
        (["+foo=1"], "foo is not a setting"),
        (["data=text"], "data.path has no value; add data.path=VALUE"),
        (["~scheduler"], "scheduler is missing"),
    ],
)
def test_keys_that_must_not_be_there_or_must(overrides: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        checks.check_keys(composed(*overrides))


def test_a_fault_of_the_program_is_no_wrong_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **keywords: Any) -> None:
        raise KeyError("gone")

    monkeypatch.setattr("charrnn.network.CharRNN.__init__", broken)
    with pytest.raises(KeyError, match="gone"):
        building.build(composed(), "model", vocabulary_size=7)
