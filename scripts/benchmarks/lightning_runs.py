"""Compare whole training runs of train.py with a bare loop of the same components and with `nn.RNN` in Lightning."""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor, nn

from benchmarks.record import print_table
from charrnn.data.batches import Batch
from charrnn.data.datamodule import CharDataModule
from charrnn.experiment import run
from charrnn.network import CharRNN
from charrnn.runs.folder import read_summary
from charrnn.runs.sweep import register_resolvers
from charrnn.training.builders import build, build_optimizer, build_scheduler
from charrnn.utils.paths import CONF
from charrnn.utils.process import prepare_process

GRID = [(64, 64, 256), (32, 32, 256), (16, 32, 256), (16, 32, 128)]
TOY_GRID = [(4, 8, 8)]
# The goal: train.py reaches at least this share of the bare loop's speed.
TARGETS = {(32, 32, 256): 0.9, (16, 32, 256): 0.9}


class TorchModule(lightning.LightningModule):
    """A typical module without this project: `nn.RNN` on one-hot vectors, carried state, one log call per step."""

    def __init__(self, vocabulary_size: int, hidden: int, cfg: DictConfig) -> None:
        super().__init__()
        self._vocabulary_size, self._cfg = vocabulary_size, cfg
        self.rnn = nn.RNN(vocabulary_size, hidden)
        self.output = nn.Linear(hidden, vocabulary_size)
        self._state: Tensor | None = None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs_TBV = nn.functional.one_hot(batch.inputs_TB, self._vocabulary_size).float()
        states_TBH, state = self.rnn(inputs_TBV, None if batch.starts else self._state)
        self._state = state.detach()
        loss = nn.functional.cross_entropy(self.output(states_TBH).flatten(0, 1), batch.targets_TB.flatten())
        self.log("train_loss", loss, batch_size=batch.inputs_TB.shape[1])
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self._cfg.optimizer.lr)


class FitClock(lightning.Callback):
    """Measures the seconds from the start of the first training step to the end of the last."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._start = time.perf_counter()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.seconds = time.perf_counter() - self._start


def settings(size: tuple[int, int, int], arguments: argparse.Namespace) -> DictConfig:
    """Return the configuration of train.py with the given sizes, without validation during training."""
    lanes, steps, hidden = size
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose(
            "config",
            overrides=[
                f"data.batch_size={lanes}", f"data.sequence_length={steps}", f"model.hidden={hidden}",
                f"trainer.max_steps={arguments.steps}", f"threads={arguments.threads}",
                f"trainer.accelerator={arguments.accelerator}",
                "model.activation=tanh",
                f"trainer.val_check_interval={arguments.steps}", "data.validation_fraction=0.001",
                "data.test_fraction=0",
            ],
        )  # fmt: skip


def bare_loop(cfg: DictConfig) -> float:
    """Return the characters per second of a plain loop with the same data, network, optimizer and schedule."""
    prepare_process(cfg.seed, cfg.threads)
    data = build(cfg, "data", CharDataModule)
    device = torch.device("cuda" if cfg.trainer.accelerator == "gpu" else "cpu")
    network = build(cfg, "model", CharRNN, vocabulary_size=len(data.vocabulary)).to(device)
    optimizer = build_optimizer(cfg)(list(network.parameters()))
    scheduler = build_scheduler(cfg, cfg.trainer.max_steps)(optimizer)
    done, characters, state_LBS = 0, 0, torch.empty(0)
    start = time.perf_counter()
    while done < cfg.trainer.max_steps:
        for inputs_TB, targets_TB, starts, *_ in data.train_dataloader():
            inputs_TB, targets_TB = inputs_TB.to(device), targets_TB.to(device)
            state_LBS = network.initial_state(inputs_TB.shape[1]) if starts else state_LBS.detach()
            loss, state_LBS = network.loss(inputs_TB, targets_TB, state_LBS)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), cfg.trainer.gradient_clip_val)
            optimizer.step()
            scheduler.step()
            done, characters = done + 1, characters + inputs_TB.numel()
            if done == cfg.trainer.max_steps:
                break
    if device.type == "cuda":
        torch.cuda.synchronize()
    return characters / (time.perf_counter() - start)


def project_run(cfg: DictConfig) -> float:
    """Return the characters per second of `charrnn.experiment.run`, with checkpoints, logging and callbacks."""
    with tempfile.TemporaryDirectory() as folder:
        run(cfg, Path(folder))
        return float(read_summary(Path(folder))["train_chars_per_second"])


def torch_run(cfg: DictConfig) -> float:
    """Return the characters per second of `nn.RNN` in a plain LightningModule."""
    prepare_process(cfg.seed, cfg.threads)
    data = build(cfg, "data", CharDataModule)
    clock = FitClock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator=cfg.trainer.accelerator, devices=1, max_steps=cfg.trainer.max_steps, callbacks=[clock],
            gradient_clip_val=cfg.trainer.gradient_clip_val, default_root_dir=folder, limit_val_batches=0,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, logger=False,
        )  # fmt: skip
        trainer.fit(TorchModule(len(data.vocabulary), cfg.model.hidden, cfg), data.train_dataloader())
    return float(trainer.global_step * data.batch_size * data.sequence_length / clock.seconds)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark, print its table and return the results."""
    register_resolvers()
    logging.disable(logging.WARNING)
    if arguments.toy:
        arguments.steps = min(arguments.steps, 5)
    candidates: dict[str, Callable[[DictConfig], float]] = {
        "bare loop": bare_loop, "train.py": project_run, "nn.RNN in Lightning": torch_run,
    }  # fmt: skip
    records = []
    for size in TOY_GRID if arguments.toy else arguments.grid or GRID:
        cfg = settings(size, arguments)
        bare_loop(cfg)  # not timed: the first call loads the compiled kernel
        speeds: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(arguments.rounds):
            for name, measure_speed in candidates.items():
                speeds[name].append(measure_speed(cfg))
        # Compare speeds within a round, because the machine's speed drifts between rounds.
        shares = {
            name: statistics.median(ours / other for ours, other in zip(speeds["train.py"], speeds[name], strict=True))
            for name in candidates
        }
        records.append(
            {
                "B": size[0], "T": size[1], "H": size[2], "rounds": arguments.rounds, "steps": arguments.steps,
                **{f"{name}, characters/s": round(statistics.median(values)) for name, values in speeds.items()},
                "train.py of the bare loop": shares["bare loop"],
                "target": TARGETS.get(size),
                "train.py x nn.RNN in Lightning": shares["nn.RNN in Lightning"],
            }
        )  # fmt: skip
    columns = list(records[0])
    print_table("Characters per second of whole runs, medians", columns, [list(record.values()) for record in records])
    return {"measurements": records}
