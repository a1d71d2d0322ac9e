import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import nn

from charrnn.data.datamodule import CharDataModule
from charrnn.module import VALIDATION, CharRNNModule
from charrnn.network import CharRNN
from charrnn.training.callbacks.progress import Curves
from conftest import TEXT

Make = Callable[..., CharRNN]
CLIP = 0.5


def make_data(text_file: Path, **changes: Any) -> CharDataModule:
    settings = {"sequence_length": 16, "batch_size": 4, "order": "stream", "seed": 1}
    return CharDataModule(
        path=str(text_file), **TEXT, validation_fraction=0.1, test_fraction=0.0, **{**settings, **changes}
    )


def make_module(network: CharRNN, data: CharDataModule, **changes: Any) -> CharRNNModule:
    settings: dict[str, Any] = {
        "optimizer": partial(torch.optim.AdamW, lr=0.01),
        "scheduler": partial(torch.optim.lr_scheduler.StepLR, step_size=5, gamma=0.5),
        "log_every": 5,
        "symbols_per_character": {"train": 1.0, "validation": 1.0},
        "about": {},
    }
    return CharRNNModule(network, data.vocabulary, **{**settings, **changes})


def make_trainer(folder: Path, **changes: Any) -> lightning.Trainer:
    settings: dict[str, Any] = {
        "accelerator": "cpu", "devices": 1, "max_steps": 12, "gradient_clip_val": CLIP, "logger": False,
        "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
        "val_check_interval": 6, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0,
        "default_root_dir": folder,
    }  # fmt: skip
    return lightning.Trainer(**{**settings, **changes})


class Losses(lightning.Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.values.append(outputs["loss"].item())


@pytest.mark.parametrize("order", ["stream", "rotate", "shuffle"])
def test_training_equals_a_hand_written_loop(make_network: Make, text_file: Path, tmp_path: Path, order: str) -> None:
    """Carried state, detached errors, clipping, optimizer and schedule, over the end of an epoch."""
    data = make_data(text_file, order=order, sequence_length=700)
    assert data.batches_per_epoch < 12
    network, twin = make_network(len(data.vocabulary), layers=2), make_network(len(data.vocabulary), layers=2)
    twin.load_state_dict(network.state_dict())
    losses = Losses()
    make_trainer(tmp_path, callbacks=[losses]).fit(make_module(network, data), datamodule=data)

    optimizer = torch.optim.AdamW(twin.parameters(), lr=0.01)
    expected: list[float] = []
    batches = make_data(text_file, order=order, sequence_length=700).train_dataloader()
    state = torch.empty(0)
    while len(expected) < 12:
        for inputs_TB, targets_TB, starts, *_ in batches:
            if starts:
                state = twin.initial_state(inputs_TB.shape[1])
            logits, state = twin.unroll(inputs_TB, state.detach())
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets_TB.flatten())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(twin.parameters(), CLIP)
            optimizer.step()
            expected.append(loss.item())
            if len(expected) % 5 == 0:
                optimizer.param_groups[0]["lr"] *= 0.5
            if len(expected) == 12:
                break
    assert losses.values == pytest.approx(expected, rel=1e-6)
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_validation_is_summed_and_divided_once(make_network: Make, text_file: Path, tmp_path: Path) -> None:
    data = make_data(text_file)
    network = make_network(len(data.vocabulary))
    trainer = make_trainer(tmp_path)
    trainer.validate(make_module(network, data), datamodule=data, verbose=False)
    nats, characters = 0.0, 0
    state = torch.empty(0)
    for inputs_TB, targets_TB, starts, *_ in data.val_dataloader():
        state = network.initial_state(inputs_TB.shape[1]) if starts else state
        logits, state = network.unroll(inputs_TB, state)
        nats += nn.functional.cross_entropy(logits.flatten(0, 1), targets_TB.flatten(), reduction="sum").item()
        characters += int((targets_TB >= 0).sum())
    assert characters == len(data.validation_ids) - 1
    assert trainer.callback_metrics[VALIDATION].item() == pytest.approx(nats / characters, rel=1e-5)


def test_a_plateau_schedule_looks_at_each_validation(make_network: Make, text_file: Path, tmp_path: Path) -> None:
    data = make_data(text_file)
    plateau = partial(
        torch.optim.lr_scheduler.ReduceLROnPlateau, factor=0.1, patience=0, threshold=math.inf
    )  # never a gain
    module = make_module(make_network(len(data.vocabulary)), data, scheduler=plateau)
    trainer = make_trainer(tmp_path)
    trainer.fit(module, datamodule=data)  # validations after steps 6 and 12
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 * 0.1 * 0.1)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_the_logged_figures(make_network: Make, text_file: Path, tmp_path: Path, algorithm: str) -> None:
    data = make_data(text_file)
    module = make_module(make_network(len(data.vocabulary)), data)
    losses = Losses()
    trainer = make_trainer(tmp_path, callbacks=[losses, Curves()], gradient_clip_algorithm=algorithm, max_steps=10)
    trainer.fit(module, datamodule=data)
    latest = module.metric_log.latest
    assert latest["nats_per_char/train"] == pytest.approx(sum(losses.values[5:]) / 5, rel=1e-5)
    assert latest["bits_per_char/train"] == pytest.approx(sum(losses.values[5:]) / 5 / math.log(2), rel=1e-5)
    assert 0 < latest["optimizer/gradient_norm"] < 100
    assert latest["optimizer/learning_rate"] == pytest.approx(0.01 * 0.5**2)
