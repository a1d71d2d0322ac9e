"""`experiment=my_text`: what the length of the text decides, and what a user decides."""

from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from omegaconf import OmegaConf

from charrnn.data.datamodule import CharDataModule
from charrnn.runs.checkpoint_file import read
from charrnn.runs.folder import BEST, CHECKPOINTS, LAST
from charrnn.training.text_length import CHOICES, fit_to_time, set_by_length
from conftest import ROOT, composed, train_here


def test_a_text_without_a_validation_split_trains_to_the_end(text_file: Path, tmp_path: Path) -> None:
    small = ("experiment=my_text", "model.hidden=8", "trainer.max_steps=40", "data.validation_fraction=0")
    assert train_here(tmp_path, *small, path=text_file)["steps"] == 40


def test_a_run_ends_where_its_validation_loss_turns(text_file: Path, tmp_path: Path) -> None:
    small = ("experiment=my_text", "model.hidden=8", "trainer.max_steps=40", "trainer.val_check_interval=2")
    summary = train_here(
        tmp_path, *small, "callbacks.early.patience=2", "+callbacks.early.min_delta=99", path=text_file
    )
    assert (summary["steps"], summary["reason"]) == (6, "stopped by callbacks.early (EarlyStopping) after step 6")


def of_length(characters: int) -> CharDataModule:
    return cast("CharDataModule", SimpleNamespace(train_ids=range(characters), batches_per_epoch=10**6))


@pytest.mark.parametrize(("characters", "row"), [(65, 0), (200_000, 0), (200_001, 1), (10**10, len(CHOICES) - 1)])
def test_every_length_has_a_row(characters: int, row: int) -> None:
    cfg = composed("experiment=my_text", "data.path=x")
    expected = {**CHOICES[row].values, "trainer.val_check_interval": CHOICES[row].steps // 20}
    assert set_by_length(cfg, of_length(characters)) == expected
    assert {key: OmegaConf.select(cfg, key) for key in expected} == expected
    assert set_by_length(cfg, of_length(characters)) == {}


def test_a_run_that_is_resumed_keeps_what_was_chosen() -> None:
    cfg = composed("experiment=my_text", "data.path=x", "model.dropout=0.2")
    before = {  # as it was when the size too followed from the length
        "model": {"layers": 2, "hidden": 24, "dropout": 0.1, "input_dropout": 0.02},
        "optimizer": {"weight_decay": 0.02},
        "trainer": {"max_steps": 70, "val_check_interval": 3},
    }
    chosen = set_by_length(cfg, of_length(1000), before)
    assert chosen == {
        "model.input_dropout": 0.02, "model.label_smoothing": 0.0, "optimizer.weight_decay": 0.02,
        "trainer.max_steps": 70, "trainer.val_check_interval": 3,
    }  # fmt: skip
    assert cfg.trainer.max_steps == 70


@pytest.mark.parametrize(("optimizer", "expected"), [("adamw", CHOICES[0].weight_decay), ("adam", 0), ("sgd", 0)])
def test_only_adamw_gets_a_weight_decay(optimizer: str, expected: float) -> None:
    """Other optimizers add it to the gradient, so the same value would be far too much."""
    for before in (None, {"model": {}, "trainer": {}, "optimizer": {}}, {"optimizer": {"weight_decay": expected}}):
        cfg = composed("experiment=my_text", "data.path=x", f"optimizer={optimizer}")
        assert set_by_length(cfg, of_length(1000), before)["optimizer.weight_decay"] == expected
        assert cfg.optimizer.weight_decay == expected


@pytest.mark.parametrize(
    ("overrides", "seconds", "steps", "interval"),
    [
        ((), 0.5, 2000, 100),  # 2,160 steps would fit into 90 % of 20 minutes
        ((), 2.0, 540, 27),
        (("max_minutes=null",), 2.0, 2000, 100),
        (("max_minutes=1",), 9.0, 20, 1),
        (("trainer.max_steps=5000",), 9.0, 5000, 250),
        (("trainer.max_steps=7",), 9.0, 7, 1),
        (("trainer.accumulate_grad_batches=4",), 0.5, 540, 27),
        (("trainer.val_check_interval=10",), 2.0, 540, 10),
    ],
)
def test_steps_fit_into_the_minutes(overrides: tuple[str, ...], seconds: float, steps: int, interval: int) -> None:
    cfg = composed("experiment=my_text", "data.path=x", *overrides)
    by_length = set_by_length(cfg, of_length(1000))
    changed = fit_to_time(cfg, by_length, seconds)
    assert (cfg.trainer.max_steps, cfg.trainer.val_check_interval) == (steps, interval)
    assert changed == {key: OmegaConf.select(cfg, key) for key in changed} and bool(changed) == (steps in (540, 20))


def test_a_run_plans_for_its_minutes(
    text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The schedule and the checkpoint know of the fewer steps too, so that it ends at a rate of zero."""
    monkeypatch.setattr("charrnn.training.setup.seconds_per_step", lambda *_, **__: 1.0)
    small = ("experiment=my_text", "model.hidden=4", "data.batch_size=2", "max_minutes=0.5")
    assert train_here(tmp_path, *small, path=text_file)["steps"] == 27
    saved = read(tmp_path / CHECKPOINTS / LAST)
    assert saved["charrnn"]["config"]["trainer"]["max_steps"] == 27
    assert saved["lr_schedulers"][0]["_last_lr"] == [0.0]
    caplog.clear()  # the root logger may have been at INFO already
    caplog.set_level("INFO", "charrnn")
    again = (*small, f"resume_from={tmp_path / CHECKPOINTS / LAST}", "trainer.max_steps=30", "dry_run=true")
    train_here(tmp_path / "again", *again, path=text_file)
    (auto,) = [" ".join(line.split()) for line in caplog.messages if line.lstrip().startswith("auto")]
    assert auto.startswith("auto as before: ") and auto.endswith("trainer.val_check_interval=1")


def test_longer_texts_get_more_steps_and_less_regularization() -> None:
    columns: dict[str, list[Any]] = {key: [row.values[key] for row in CHOICES] for key in CHOICES[0].values}
    steps = columns.pop("trainer.max_steps")
    assert steps == sorted(steps)
    for values in columns.values():
        assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/own-text.md"])
def test_pages_show_the_same_choices(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    limits = ["up to 200,000", "up to 600,000", "up to 2 million", "up to 6 million", "more"]
    assert [each.characters for each in CHOICES] == [2e5, 6e5, 2e6, 6e6, inf]
    for limit, each in zip(limits, CHOICES, strict=True):
        _, *values, steps = each
        assert f"| {limit} | {' | '.join(f'{value:g}' for value in values)} | {steps:,} |\n" in text


def test_what_a_user_sets_stays_and_the_run_records_what_it_used(text_file: Path, tmp_path: Path) -> None:
    summary = train_here(tmp_path, "experiment=my_text", "model.hidden=8", "trainer.max_steps=2", path=text_file)
    assert summary["steps"] == 2
    saved = read(tmp_path / CHECKPOINTS / BEST)["charrnn"]
    model = {"hidden": 8, "layers": 3, "dropout": 0.5, "input_dropout": 0.03, "label_smoothing": 0.01}
    assert {key: saved["config"]["model"][key] for key in model} == model
