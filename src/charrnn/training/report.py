"""The lines that a run prints at its start and at its end."""

import logging
import os
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from charrnn.data.datamodule import CharDataModule
from charrnn.runs.commands import command, resume_run, show_curves
from charrnn.runs.folder import METRICS
from charrnn.runs.sweep import in_sweep
from charrnn.training.preparation import Preparation
from charrnn.training.setup import Training
from charrnn.utils.files import display_path
from charrnn.utils.paths import OUTPUTS
from charrnn.utils.screen import report, report_sample

log = logging.getLogger(__name__)

MANY_EPOCHS = 200
BFLOAT16_MIN_LANES = 32  # measured in docs/benchmark.md


def report_start(cfg: DictConfig, ready: Preparation, training: Training, step_seconds: float) -> None:
    """Report the device, the network, the length of training and its estimated time."""
    data, network, trainer = ready.data, ready.network, training.trainer
    device, batches = trainer.strategy.root_device, data.batches_per_epoch
    epochs = ready.steps * cfg.trainer.accumulate_grad_batches / batches
    processes = f" in each of {trainer.world_size} processes" if trainer.world_size > 1 else ""
    threads = torch.get_num_threads()
    by_length = "as before" if ready.found else "by the length of the text"
    for settings, reason in ((ready.by_length, by_length), (ready.by_time, "by max_minutes")):
        if settings:
            report("auto", f"{reason}: {', '.join(f'{key}={value}' for key, value in settings.items())}")
    report(
        "device",
        f"{device}, {threads} thread{'s' * (threads != 1)}{processes}, precision {trainer.precision}",
        new_group=True,
    )
    report("network", f"{network.description}; kernel {training.kernel}, {training.kernel_reason}")
    report(
        "training",
        f"{ready.steps:,} steps of {data.batch_size} x {data.sequence_length} characters; "
        f"an epoch has {batches:,} batches: {epochs:.2f} epochs",
    )
    if epochs > MANY_EPOCHS:
        report("hint", f"{epochs:.0f} epochs is a lot: watch the validation loss, or use a smaller network")
    if threads > (os.cpu_count() or 1):
        log.warning("threads=%d is slow: this machine has %s CPU cores; use threads=auto", threads, os.cpu_count())
    if device.type == "cpu" and trainer.precision.startswith("bf16") and data.batch_size < BFLOAT16_MIN_LANES:
        report("hint", f"bfloat16 is no faster on a CPU below data.batch_size={BFLOAT16_MIN_LANES}")
    milliseconds = f"{1e3 * step_seconds:.{0 if step_seconds > 0.0095 else 1}f}"
    total = f"{_duration(batches * step_seconds)} an epoch, {_duration(epochs * batches * step_seconds)} in total"
    report("time", f"about {milliseconds} ms a step, {total}, without validation")


def report_scoring(data: CharDataModule) -> None:
    """Log what is scored, and why the score of the validation split is not the last `val` of the training."""
    if len(data.validation_ids):
        log.info("\nscoring   the best weights, each split read as one long text; val above is the")
        log.info("          loss of shorter pieces, each from a zero state: it differs a little")
    elif len(data.test_ids):
        log.info("\nscoring   the best weights on the test split")


def report_end(folder: Path, summary: dict[str, Any], sample: str) -> None:
    """Log a sample of the best weights, the final metrics, and the commands to use next."""
    report_sample(f"sample of step {summary['best_step']:,}:", sample)
    lines = []
    if summary["val_bits_per_char"] is not None:
        nats = f"({summary['val_nats_per_char']:.4f} nats), best at step {summary['best_step']:,}"
        lines.append(f"validation  {summary['val_bits_per_char']:.4f} bits per character {nats}")
    if summary["test_bits_per_char"] is not None:
        lines.append(f"test        {summary['test_bits_per_char']:.4f} bits per character")
    speed = summary["train_chars_per_second"] or 0
    lines.append(f"time        {summary['train_seconds']:.1f} s with validations; {speed:,} characters/s in training")
    if summary["checkpoint"] is not None:
        lines.append(f"checkpoint  {display_path(Path(summary['checkpoint']))}")
    if not any(folder.glob("events.out.*")):
        lines.append(f"curves      {display_path(folder / METRICS)}")
    elif not in_sweep():  # which names the curves of all its jobs at its end
        lines += show_curves(OUTPUTS if OUTPUTS in folder.parents else folder)
    if summary["checkpoint"] is not None:
        lines.append(f"more text   {command('scripts/generate.py', ['--run', folder])}")
        if not in_sweep():
            lines.append(f"look inside {command('scripts/export.py', ['--format', 'html', '--run', folder])}")
    for line in lines:
        log.info("%s", line)


def report_stop(signal_name: str, summary: dict[str, Any], folder: Path) -> None:
    """Log the last saved step of an interrupted run and the command that resumes it."""
    name = "Ctrl-C" if signal_name == "SIGINT" else signal_name
    if summary["checkpoint"] is None:
        log.info("\nstopped by %s before the first checkpoint", name)
        return
    step = f"{summary['steps']:,}"
    if in_sweep():  # which says at its end how to resume all its jobs
        log.info("\nstopped by %s; saved after step %s", name, step)
    else:
        log.info("\nstopped by %s; saved after step %s. To resume:\n  %s", name, step, resume_run(folder))


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
