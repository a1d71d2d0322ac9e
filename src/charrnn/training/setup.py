"""Build the parts that train a network from the config, and fit."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from omegaconf import DictConfig
from torch import distributed, nn
from torch.optim import Optimizer

from charrnn.module import CharRNNModule
from charrnn.network import CharRNN
from charrnn.network.recurrence import choose_kernel, usable_kernels
from charrnn.runs.folder import CHECKPOINTS, LAST, LOG
from charrnn.training.builders import build_optimizer, build_scheduler, build_trainer
from charrnn.training.callbacks.checkpoint import Checkpoints
from charrnn.training.callbacks.group import grouped
from charrnn.training.callbacks.monitor import Monitor
from charrnn.training.callbacks.progress import Curves, Progress
from charrnn.training.callbacks.recovery import Recovery
from charrnn.training.callbacks.samples import Samples
from charrnn.training.callbacks.stopping import OnValidation, PruningCallback, StopOnSignal
from charrnn.training.callbacks.throughput import Throughput
from charrnn.training.changes import adapted
from charrnn.training.config_checks import PRECISIONS
from charrnn.training.configured_callbacks import (
    build_callbacks,
    build_checkpoints,
    build_keeping,
    build_time_limit,
)
from charrnn.training.distributed.consensus import Consensus
from charrnn.training.distributed.ranks import Ranks
from charrnn.training.loggers import Loggers
from charrnn.training.preparation import Preparation
from charrnn.training.preview import seconds_per_step
from charrnn.training.run_state import RunState
from charrnn.utils.config import plain
from charrnn.utils.errors import RequestError, RunFailed, one_line
from charrnn.utils.validation import require_flag, require_integer

log = logging.getLogger(__name__)


@dataclass
class Training:
    """The parts that train the network; `kernel` computes its recurrence, for the reason `kernel_reason`."""

    trainer: lightning.Trainer
    module: CharRNNModule
    make_optimizer: Callable[[list[nn.Parameter]], Optimizer]
    state: RunState
    checkpoints: Checkpoints
    throughput: Throughput
    samples: Samples
    stop_on_signal: StopOnSignal
    kernel: str
    kernel_reason: str

    def seconds_per_step(self, ready: Preparation, ranks: Ranks) -> float:
        """Return the time of a training step on this device, measured with a copy of the network."""
        lanes, trainer = ready.data.batch_size // ranks.size, self.trainer
        device = trainer.strategy.root_device
        return seconds_per_step(
            ready.network, ready.data, lanes, self.make_optimizer, device, trainer.precision,
            cuda_graph=self.module.cuda_graph,
        )  # fmt: skip

    def fit(self, ready: Preparation) -> None:
        """Train from the checkpoint where the run starts, if there is one; do nothing if all steps were made before.

        With several ranks Lightning starts those that are missing. Raises `RequestError` for settings that can't be
        combined, and `RunFailed` if another rank has ended.
        """
        if ready.start.trained:  # it was killed after its last step, and only its scores are missing
            self.throughput.load_state_dict(ready.newest_checkpoint["callbacks"][self.throughput.state_key])
            self.state.saved_step = ready.steps
            return
        if self.trainer.world_size > 1:  # the ranks that Lightning starts inherit it; Lightning itself would set 1
            os.environ.setdefault("OMP_NUM_THREADS", str(ready.facts["threads"]))
        try:
            self.trainer.fit(self.module, datamodule=ready.data, ckpt_path=ready.start.path)
        except MisconfigurationException as error:  # some settings are compared only when Lightning sees the data
            raise RequestError(f"trainer: these settings can't be used: {error}") from error
        except RuntimeError as error:
            if isinstance(error, distributed.DistError) or "gloo" in str(error):
                raise RunFailed(f"process {self.trainer.global_rank} lost the others ({one_line(error)})") from error
            raise
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()
        self.stop_on_signal.stop_if_asked()

    def early_end(self) -> str | None:
        """Log and return why training ended before its last step, or what could not be saved; None if all is well."""
        notes = [*self.state.failed.values()]
        if self.state.stopped_by is not None:
            notes.append(f"stopped by {self.state.stopped_by} after step {self.trainer.global_step:,}")
        for name, trouble in self.state.unsaved.items():
            notes.append(f"could not save {name}: {trouble}")
        for note in notes:
            log.info("ended     %s", note)
        return "; ".join(notes) or None

    def raise_failures(self) -> None:
        """Raise `RunFailed` if a callback raised an error, which ended the run."""
        if self.state.failed:
            raise RunFailed(f"{'; '.join(self.state.failed.values())}; its traceback is in {LOG}")

    def progress(self) -> dict[str, Any]:
        """Return what `summary.json` says of the training so far; `steps` are those of `last.ckpt`."""
        saved = self.state.saved_step
        return {
            "steps": self.trainer.global_step if saved is None else saved,
            "train_seconds": round(self.throughput.fit.seconds, 3),
            "train_chars_per_second": self.throughput.characters_per_second(),
            "checkpoint": str((self.checkpoints.folder / LAST).absolute()) if saved else None,
        }


def assemble(
    cfg: DictConfig,
    ready: Preparation,
    folder: Path,
    ranks: Ranks,
    loggers: Loggers,
    on_validation: OnValidation | None = None,
) -> Training:
    """Build the parts that train the network. Only rank 0 samples, shows progress, and calls `on_validation`."""
    state = RunState()
    checkpoints = build_checkpoints(cfg, folder / CHECKPOINTS, state, ready.steps)
    recovery = Recovery(checkpoints, state, **plain(cfg.recovery))
    stop = StopOnSignal(state, listens=ranks.rank == 0 or ranks.launcher != "Lightning")
    throughput, samples = Throughput(), Samples(folder, ready.facts["seed"], ready.data.train_ids)
    pruning = [] if on_validation is None else [PruningCallback(on_validation, ready.steps)]
    validates = len(ready.data.validation_ids) > 0
    built = build_callbacks(cfg, state, validates=validates)
    configured = [each for each in built if ranks.rank == 0 or not isinstance(each, Monitor)]
    configured += build_time_limit(cfg, state)
    shows_progress = any(isinstance(each, ProgressBar) for each in configured)  # of its own choice
    progress = [] if shows_progress else [Progress(ready.steps, log.info, lambda: samples.latest)]
    first_only = [samples, throughput, *progress] if ranks.rank == 0 else []
    # In this order: Recovery reads the metrics that Curves logs and clears, Checkpoints saves, then the run may stop.
    saving = [checkpoints, *build_keeping(cfg, checkpoints.folder, state)]
    callbacks = [*configured, Consensus(state), recovery, Curves(), *first_only, *saving, stop, *pruning]
    trainer = build_trainer(cfg, ready.data, loggers.all, grouped(callbacks), ranks)
    kernel, reason = _set_kernel(ready.network, trainer, ready.earlier.get("kernel"))
    if ready.changed:
        writer: Any = trainer.strategy.checkpoint_io
        writer.adapt = lambda checkpoint: adapted(checkpoint, ready.changed, cfg, ready.steps)
    make_optimizer = build_optimizer(cfg)
    run = {"kernel": kernel, "threads": ready.facts["threads"], "changes": ready.facts.get("changes", [])}
    module = CharRNNModule(
        ready.network,
        ready.data.vocabulary,
        optimizer=make_optimizer,
        scheduler=build_scheduler(cfg, ready.steps),
        symbols_per_character={split: ready.data.symbols_per_character(split) for split in ("train", "validation")},
        log_every=require_integer("trainer.log_every_n_steps", cfg.trainer.log_every_n_steps),
        # Several processes wait for each other between their kernels, which was not tried with graphs.
        cuda_graph=require_flag("cuda_graph", cfg.cuda_graph) and trainer.world_size == 1,
        about={"data": ready.data.settings, "config": plain(cfg), "run": run},
    )
    return Training(trainer, module, make_optimizer, state, checkpoints, throughput, samples, stop, kernel, reason)


def _set_kernel(network: CharRNN, trainer: lightning.Trainer, before: str | None) -> tuple[str, str]:
    """Set the network's kernel; return it and the reason. A resumed run keeps its kernel, `before`, if available."""
    settings, device, dtype = network.settings, trainer.strategy.root_device, PRECISIONS[trainer.precision]
    if "kernel" not in settings:
        return "torch", "PyTorch's own layer"
    requested = settings["kernel"]
    if requested == "auto" and before is not None:
        if usable_kernels(device, dtype).get(before, "unknown") is None:
            requested = before
        else:
            log.warning("kernel %s, which this run started with, is not available here; using another", before)
    kernel, why = choose_kernel(requested, device, dtype)
    for cell in network.cells:
        cell.kernel = kernel  # type: ignore[assignment]  # a ModuleList does not know its element type
    return kernel, "as before" if before == kernel else why
