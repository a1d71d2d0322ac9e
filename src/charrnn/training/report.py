"""The lines that a run prints at its start and at its end."""

import logging
import os
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from charrnn.runs.commands import command, display_path, resume_run
from charrnn.runs.folder import METRICS
from charrnn.runs.sweep import in_sweep
from charrnn.training.distributed.ranks import Ranks
from charrnn.training.preparation import Preparation
from charrnn.training.preview import seconds_per_step
from charrnn.training.setup import Training
from charrnn.utils.paths import OUTPUTS

log = logging.getLogger(__name__)

MANY_EPOCHS = 200
BFLOAT16_MIN_LANES = 32  # measured in docs/benchmark.md


def report_start(cfg: DictConfig, ready: Preparation, training: Training, ranks: Ranks) -> None:
    """Log the device, the network, the length of training and its estimated time."""
    data, network, trainer = ready.data, ready.network, training.trainer
    device, batches = trainer.strategy.root_device, data.batches_per_epoch
    epochs = ready.steps * cfg.trainer.accumulate_grad_batches / batches
    processes = f" in each of {trainer.world_size} processes" if trainer.world_size > 1 else ""
    threads = torch.get_num_threads()
    log.info("device    %s, %d threads%s, precision %s", device, threads, processes, trainer.precision)
    log.info("network   %s; kernel %s, %s", network.description, training.kernel, training.kernel_reason)
    log.info(
        "training  %s steps of %d x %d characters; an epoch has %s batches: %.2f epochs",
        f"{ready.steps:,}", data.batch_size, data.sequence_length, f"{batches:,}", epochs,
    )  # fmt: skip
    if epochs > MANY_EPOCHS:
        log.info("hint      %.0f epochs is a lot: watch the validation loss, or use a smaller network", epochs)
    if threads > (os.cpu_count() or 1):
        log.warning("threads=%d is slow: this machine has %s CPU cores; use threads=auto", threads, os.cpu_count())
    if device.type == "cpu" and trainer.precision.startswith("bf16") and data.batch_size < BFLOAT16_MIN_LANES:
        log.info("hint      bfloat16 is no faster on a CPU below data.batch_size=%d", BFLOAT16_MIN_LANES)
    lanes = data.batch_size // ranks.size
    step_seconds = seconds_per_step(network, data, lanes, training.make_optimizer, device, trainer.precision)
    epoch = batches * step_seconds
    log.info(
        "time      about %s ms a step, %s an epoch, %s in total, without validation",
        f"{1e3 * step_seconds:.{0 if step_seconds > 0.0095 else 1}f}", _duration(epoch), _duration(epochs * epoch),
    )  # fmt: skip


def report_end(folder: Path, summary: dict[str, Any], sample: str) -> None:
    """Log a sample of the best weights, the final metrics, and the commands to use next."""
    lines = [f"\nsample of step {summary['best_step']:,}:\n{sample}\n"]
    if summary["val_bits_per_char"] is not None:
        nats = f"({summary['val_nats_per_char']:.4f} nats), best at step {summary['best_step']:,}"
        lines.append(f"validation  {summary['val_bits_per_char']:.4f} bits per character {nats}")
    if summary["test_bits_per_char"] is not None:
        lines.append(f"test        {summary['test_bits_per_char']:.4f} bits per character")
    speed = summary["train_chars_per_second"] or 0
    lines.append(f"time        {summary['train_seconds']:.1f} s, {speed:,} characters/s")
    if summary["checkpoint"] is not None:
        lines.append(f"checkpoint  {display_path(Path(summary['checkpoint']))}")
    curves = OUTPUTS if OUTPUTS in folder.parents else folder
    shown = command("tensorboard", ["--logdir", curves]) if any(folder.glob("events.out.*")) else ""
    lines.append(f"curves      {shown or display_path(folder / METRICS)}")
    if summary["checkpoint"] is not None:
        lines.append(f"more text   {command('scripts/generate.py', ['--run', folder])}")
    for line in lines:
        log.info("%s", line)


def report_stop(signal_name: str, summary: dict[str, Any], folder: Path) -> None:
    """Log the last saved step of an interrupted run and the command that resumes it."""
    if summary["checkpoint"] is None:
        log.info("\nstopped by %s before the first checkpoint", signal_name)
        return
    name = "Ctrl-C" if signal_name == "SIGINT" else signal_name
    step = f"{summary['steps']:,}"
    if in_sweep():  # which says at its end how to resume all its jobs
        log.info("\nstopped by %s; saved after step %s", name, step)
    else:
        log.info("\nstopped by %s; saved after step %s. To resume:\n  %s", name, step, resume_run(folder))


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
