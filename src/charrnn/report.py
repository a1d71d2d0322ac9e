"""What a person sees of a run: the first and the last lines on the screen, and TensorBoard's table of settings."""

import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch.utils.tensorboard.summary import hparams

from charrnn.data import CharDataModule
from charrnn.network import CharRNN
from charrnn.preview import DTYPES
from charrnn.recurrence import choose_kernel, usable_kernels
from charrnn.runs import OUTPUTS, command_to_go_on
from charrnn.settings import flattened, plain

log = logging.getLogger(__name__)

MANY_EPOCHS = 200
BFLOAT16_FROM_LANES = 32  # docs/benchmark.md
SCRIPTS = OUTPUTS.parent / "scripts"
NOT_IN_TABLE = ("data._target_", "model._target_", "trainer._target_", "data.seed")  # the same in every run


class RunLogger(TensorBoardLogger):
    """TensorBoard events into the run folder, and nothing else: Hydra already keeps the settings there."""

    _complained = False

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """A full disk is no reason to stop learning: the curves end, with one warning."""
        try:
            yield
        except (OSError, ValueError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__  # Lightning wraps what is raised
            if not isinstance(cause, OSError):
                raise
            if not self._complained:
                log.warning("the curves can't be written (%s); training goes on without them", cause.strerror)
            self._complained = True

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        with self._tolerant():
            super().log_metrics(metrics, step)

    def save(self) -> None:
        with self._tolerant():
            self.experiment.flush()

    def finalize(self, status: str) -> None:
        self.save()  # fit and validate both end so; the file is closed when the run has ended

    def close(self) -> None:
        if self._experiment is not None:  # a run that was refused leaves no events
            with self._tolerant():
                self.experiment.close()

    def add_text(self, tag: str, text: str, step: int) -> None:
        """A text as it is, in the tab Text."""
        indented = "".join(f"    {line}\n" for line in text.splitlines())  # Markdown shows it as it is
        with self._tolerant():
            self.experiment.add_text(tag, indented, step)

    def add_picture(self, tag: str, figure: Any, step: int) -> None:
        """A figure of matplotlib, in the tab Images."""
        with self._tolerant():
            self.experiment.add_figure(tag, figure, step)

    def draw_references(self, figures: dict[str, float], steps: int, begun: int) -> None:
        """Level lines from the first step to the last; the tab Custom Scalars has them in one chart with the curves."""
        with self._tolerant():
            self._draw_references(figures, steps, begun)

    def _draw_references(self, figures: dict[str, float], steps: int, begun: int) -> None:
        tags = {name: f"reference/{name}_bits_per_char" for name in figures}
        for name, tag in tags.items():
            for step in (0, steps) if not begun else (steps,):  # those of earlier steps are there already
                self.experiment.add_scalar(tag, figures[name], step)
        if tags:
            curves = ["bits_per_char/train", "bits_per_char/val", *tags.values()]
            self.experiment.add_custom_scalars_multilinechart(curves, title="bits per character, and references")

    def log_outcome(self, cfg: DictConfig, summary: dict[str, Any]) -> None:
        """Fill the hyperparameters tab: the settings that shape a result, with the final figures beside them."""
        with self._tolerant():
            self._log_outcome(cfg, summary)

    def _log_outcome(self, cfg: DictConfig, summary: dict[str, Any]) -> None:
        names = ("val_bits_per_char", "test_bits_per_char")
        metrics = {f"result/{name}": summary[name] for name in names if summary[name] is not None}
        for tag, value in metrics.items():
            self.experiment.add_scalar(tag, value, summary["steps"])
        settings = {key: cfg[key] for key in ("model", "data", "optimizer", "scheduler", "trainer", "seed")}
        flat = flattened(plain(OmegaConf.create(settings)))
        table = {
            key: value if isinstance(value, int | float | bool) else _plain_text(value)  # the types the table takes
            for key, value in flat.items()
            if key not in NOT_IN_TABLE
        }
        for part in hparams(table, metrics):
            self.experiment.file_writer.add_summary(part)


def _plain_text(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode("utf-8")  # a file's name may be any bytes


def fix_kernel(network: CharRNN, trainer: lightning.Trainer, lanes: int, before: str | None) -> tuple[str, str]:
    """Choose the kernel for the whole run, and say why; a run that goes on keeps the one it had `before`."""
    settings, device, dtype = network.settings, trainer.strategy.root_device, DTYPES[trainer.precision]
    if "kernel" not in settings:
        return "torch", "PyTorch's own layer"
    requested = settings["kernel"]
    if requested == "auto" and before is not None:
        if usable_kernels(device, dtype, settings["hidden"]).get(before, "unknown") is None:
            requested = before
        else:
            log.warning("kernel %s, which the run began with, can't serve here; it goes on with another", before)
    kernel, why = choose_kernel(requested, device, dtype, settings["hidden"], lanes)
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
    device = trainer.strategy.root_device
    dtype = DTYPES[trainer.precision]
    settings = network.settings
    layers = "1 layer" if settings["layers"] == 1 else f"{settings['layers']} layers"
    batches = data.batches_per_epoch
    log.info("device    %s, %d threads, precision %s", device, torch.get_num_threads(), trainer.precision)
    log.info(
        "network   %s of %s (%s, %s): %s parameters; kernel %s",
        layers, settings["hidden"], settings["cell"], settings.get("activation", "gates"),
        f"{network.parameter_count():,}", kernel,
    )  # fmt: skip
    log.info(
        "training  %s steps of %d x %d characters; an epoch has %s batches, so %.2f epochs",
        f"{steps:,}", data.batch_size, data.sequence_length, f"{batches:,}",
        steps * cfg.trainer.accumulate_grad_batches / batches,
    )  # fmt: skip
    epochs = steps * cfg.trainer.accumulate_grad_batches / batches
    if epochs > MANY_EPOCHS:
        log.info(
            "note      %s epochs are many: watch the validation figure, or take a smaller network", f"{epochs:,.0f}"
        )
    if torch.get_num_threads() > (os.cpu_count() or 1):
        log.warning("threads=%d is more than this machine's %s processors: much slower", cfg.threads, os.cpu_count())
    if device.type == "cpu" and dtype == torch.bfloat16 and data.batch_size < BFLOAT16_FROM_LANES:
        log.info("note      bfloat16 does not pay on a CPU below data.batch_size=%d", BFLOAT16_FROM_LANES)
    epoch = batches * step_seconds
    log.info(
        "time      about %s ms a step, %s an epoch, %s in all, validations not counted",
        f"{1e3 * step_seconds:.{0 if step_seconds > 0.0095 else 1}f}",
        _duration(epoch), _duration(steps * cfg.trainer.accumulate_grad_batches * step_seconds),
    )  # fmt: skip


def report_end(folder: Path, summary: dict[str, Any], sample: str) -> None:
    """Say how well it went, show a sample of the best weights, and where to go from here."""
    log.info("\nsample of step %s:\n%s\n", f"{summary['best_step']:,}", sample)
    if summary["val_bits_per_char"] is not None:
        log.info(
            "validation  %.4f bits per character (%.4f nats), best at step %s",
            summary["val_bits_per_char"], summary["val_nats_per_char"], f"{summary['best_step']:,}",
        )  # fmt: skip
    if summary["test_bits_per_char"] is not None:
        log.info("test        %.4f bits per character", summary["test_bits_per_char"])
    log.info(
        "time        %.1f s, %s characters/s",
        summary["train_seconds"], f"{summary['train_chars_per_second'] or 0:,}",
    )  # fmt: skip
    if summary["checkpoint"] is not None:
        log.info("checkpoint  %s", shown(Path(summary["checkpoint"])))
    log.info(
        "curves      %s --logdir %s", _command("tensorboard"), shown(OUTPUTS if OUTPUTS in folder.parents else folder)
    )
    log.info("more text   %s %s --run %s", _command("python"), shown(SCRIPTS / "generate.py"), shown(folder))


def report_stop(summary: dict[str, Any], folder: Path) -> None:
    """Say where an interrupted run stands and how to go on with it."""
    if summary["checkpoint"] is None:
        log.info("\nstopped by %s before there was anything to save", summary["reason"])
        return
    name = "Ctrl-C" if summary["reason"] == "SIGINT" else summary["reason"]
    log.info("\nstopped by %s; saved after step %s. To go on:", name, f"{summary['steps']:,}")
    log.info("  %s", command_to_go_on(folder))


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _command(name: str) -> str:
    """How to call a program of this environment from here: its name if the shell would find it, else its path."""
    program = Path(sys.executable).parent / name
    found = shutil.which(name)
    return name if found and Path(found).parent == program.parent else shown(program)


def shown(path: Path) -> str:
    """The path as one would type it here: relative where it lies below the current folder."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links that the user knows by name
    current = Path.cwd()
    return str(absolute.relative_to(current)) if absolute.is_relative_to(current) else str(absolute)
