"""What a person sees of a run: the first and the last lines on the screen, and TensorBoard's table of settings."""

import logging
import os
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch.utils.tensorboard.summary import hparams

from charrnn.data import CharDataModule
from charrnn.network import CharRNN
from charrnn.recurrence import choose_kernel
from charrnn.runs import OUTPUTS

log = logging.getLogger(__name__)

NOT_IN_TABLE = ("data._target_", "model._target_", "trainer._target_", "data.seed")  # the same in every run


class RunLogger(TensorBoardLogger):
    """TensorBoard events into the run folder, and nothing else: Hydra already keeps the settings there."""

    def save(self) -> None:
        self.experiment.flush()

    def finalize(self, status: str) -> None:
        self.experiment.flush()  # fit and validate both end so; the file is closed when the run has ended

    def close(self) -> None:
        self.experiment.close()

    def log_outcome(self, cfg: DictConfig, summary: dict[str, Any]) -> None:
        """Fill the hyperparameters tab: the settings that shape a result, with the final figures beside them."""
        names = ("val_bits_per_char", "test_bits_per_char")
        metrics = {f"result/{name}": summary[name] for name in names if summary[name] is not None}
        for tag, value in metrics.items():
            self.experiment.add_scalar(tag, value, summary["steps"])
        settings = {key: cfg[key] for key in ("model", "data", "optimizer", "scheduler", "trainer", "seed")}
        flat = _flat(OmegaConf.to_container(OmegaConf.create(settings), resolve=True))
        for part in hparams({key: value for key, value in flat.items() if key not in NOT_IN_TABLE}, metrics):
            self.experiment.file_writer.add_summary(part)


def _flat(settings: Any, prefix: str = "") -> dict[str, str | int | float | bool]:
    """Nested settings as `group.key: value`, in the types that TensorBoard's table takes."""
    if not isinstance(settings, dict):
        return {prefix: settings if isinstance(settings, str | int | float | bool) else str(settings)}
    return {
        flat_key: value
        for key, inner in settings.items()
        for flat_key, value in _flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def report_start(
    cfg: DictConfig, folder: Path, data: CharDataModule, network: CharRNN, trainer: lightning.Trainer, steps: int
) -> str:
    """Say what is about to be trained, on what; return the name of the kernel that computes the recurrence."""
    device = trainer.strategy.root_device
    dtype = torch.bfloat16 if trainer.precision == "bf16-true" else torch.float32
    settings = network.settings
    kernel, reason = choose_kernel(settings["kernel"], device, dtype, settings["hidden"])
    parts = (("train", data.train_ids), ("validation", data.validation_ids), ("test", data.test_ids))
    split = ", ".join(f"{name} {len(ids):,}" for name, ids in parts)
    layers = "1 layer" if settings["layers"] == 1 else f"{settings['layers']} layers"
    batches = data.batches_per_epoch
    log.info("device    %s, %d threads, precision %s", device, torch.get_num_threads(), trainer.precision)
    log.info(
        "text      %s: %s characters, %d symbols; %s",
        data.corpus.name, f"{len(data.corpus.text):,}", len(data.vocabulary), split,
    )  # fmt: skip
    log.info(
        "network   %s of %s (%s, %s): %s parameters; kernel %s, %s",
        layers, settings["hidden"], settings["cell"], settings.get("activation", "gated"),
        f"{network.parameter_count():,}", kernel, reason,
    )  # fmt: skip
    log.info(
        "training  %s steps of %d x %d characters; an epoch has %s batches, so %.2f epochs",
        f"{steps:,}", data.batch_size, data.sequence_length, f"{batches:,}",
        steps * cfg.trainer.accumulate_grad_batches / batches,
    )  # fmt: skip
    if settings["dropout"] > 0 and settings["layers"] == 1:
        log.warning("model.dropout acts between layers and does nothing with model.layers=1")
    log.info("folder    %s", shown(folder))
    return kernel


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
    log.info("checkpoint  %s", shown(Path(summary["checkpoint"])))
    log.info("curves      tensorboard --logdir %s", shown(OUTPUTS if OUTPUTS in folder.parents else folder))
    log.info('more text   python scripts/generate.py --run %s --prompt "The "', shown(folder))


def shown(path: Path) -> str:
    """The path as one would type it here: relative where it lies below the current folder."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links that the user knows by name
    current = Path.cwd()
    return str(absolute.relative_to(current)) if absolute.is_relative_to(current) else str(absolute)
