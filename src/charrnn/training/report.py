"""What a person sees of a run on the screen: its first and its last lines."""

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import lightning
import torch
from omegaconf import DictConfig

from charrnn.data.datamodule import CharDataModule
from charrnn.network import CharRNN
from charrnn.network.recurrence import choose_kernel, usable_kernels
from charrnn.runs.folder import resume_command
from charrnn.training.config_checks import PRECISIONS
from charrnn.utils.paths import OUTPUTS

log = logging.getLogger(__name__)

MANY_EPOCHS = 200
BFLOAT16_FROM_LANES = 32  # docs/benchmark.md
SCRIPTS = OUTPUTS.parent / "scripts"


def fix_kernel(network: CharRNN, trainer: lightning.Trainer, before: str | None) -> tuple[str, str]:
    """Choose the kernel for the whole run, and say why; a run that goes on keeps the one it had `before`."""
    settings, device, dtype = network.settings, trainer.strategy.root_device, PRECISIONS[trainer.precision]
    if "kernel" not in settings:
        return "torch", "PyTorch's own layer"
    requested = settings["kernel"]
    if requested == "auto" and before is not None:
        if usable_kernels(device, dtype, settings["hidden"]).get(before, "unknown") is None:
            requested = before
        else:
            log.warning("kernel %s, which the run began with, can't serve here; it goes on with another", before)
    kernel, why = choose_kernel(requested, device, dtype, settings["hidden"])
    for cell in network.cells:
        cell.kernel = kernel  # type: ignore[assignment]  # a ModuleList forgets its types
    return kernel, "as before" if before == kernel else why


def report_start(
    cfg: DictConfig,
    data: CharDataModule,
    network: CharRNN,
    trainer: lightning.Trainer,
    kernel: str,
    steps: int,
    step_seconds: float,
) -> None:
    """Say what is about to be trained, and how."""
    device, batches = trainer.strategy.root_device, data.batches_per_epoch
    epochs = steps * cfg.trainer.accumulate_grad_batches / batches
    processes = f" in each of {trainer.world_size} processes" if trainer.world_size > 1 else ""
    threads = torch.get_num_threads()
    log.info("device    %s, %d threads%s, precision %s", device, threads, processes, trainer.precision)
    log.info("network   %s; kernel %s", network.description, kernel)
    log.info(
        "training  %s steps of %d x %d characters; an epoch has %s batches, so %.2f epochs",
        f"{steps:,}", data.batch_size, data.sequence_length, f"{batches:,}", epochs,
    )  # fmt: skip
    if epochs > MANY_EPOCHS:
        log.info("note      %.0f epochs are many: watch the validation figure, or take a smaller network", epochs)
    if threads > (os.cpu_count() or 1):
        log.warning("threads=%d is more than this machine's %s CPU cores: much slower", threads, os.cpu_count())
    if device.type == "cpu" and trainer.precision.startswith("bf16") and data.batch_size < BFLOAT16_FROM_LANES:
        log.info("note      bfloat16 does not pay on a CPU below data.batch_size=%d", BFLOAT16_FROM_LANES)
    epoch = batches * step_seconds
    log.info(
        "time      about %s ms a step, %s an epoch, %s in all, validations not counted",
        f"{1e3 * step_seconds:.{0 if step_seconds > 0.0095 else 1}f}", _duration(epoch), _duration(epochs * epoch),
    )  # fmt: skip


def report_end(folder: Path, summary: dict[str, Any], sample: str) -> None:
    """Say how well it went, show a sample of the best weights, and where to go from here."""
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
    curves = display_path(OUTPUTS if OUTPUTS in folder.parents else folder)
    lines.append(f"curves      {_command('tensorboard')} --logdir {curves}")
    lines.append(
        f"more text   {_command('python')} {display_path(SCRIPTS / 'generate.py')} --run {display_path(folder)}"
    )
    for line in lines:
        log.info("%s", line)


def report_stop(summary: dict[str, Any], folder: Path) -> None:
    """Say where an interrupted run stands and how to go on with it."""
    if summary["checkpoint"] is None:
        log.info("\nstopped by %s before there was anything to save", summary["reason"])
        return
    name = "Ctrl-C" if summary["reason"] == "SIGINT" else summary["reason"]
    log.info("\nstopped by %s; saved after step %s. To go on:", name, f"{summary['steps']:,}")
    log.info("  %s", resume_command(folder))


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _command(name: str) -> str:
    """How to call a program of this environment from here: its name if the shell would find it, else its path."""
    program = Path(sys.executable).parent / name
    found = shutil.which(name)
    return name if found and Path(found).parent == program.parent else display_path(program)


def display_path(path: Path) -> str:
    """The path as one would type it here: relative where it lies below the current folder."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links that the user knows by name
    current = Path.cwd()
    return str(absolute.relative_to(current)) if absolute.is_relative_to(current) else str(absolute)
