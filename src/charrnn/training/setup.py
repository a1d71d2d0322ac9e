"""What every rank of a run does: read the text, build the parts, fit; rank 0 does the rest in experiment.py."""

import logging
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import distributed

from charrnn.data.datamodule import CharDataModule
from charrnn.module import CharRNNModule
from charrnn.network import CharRNN
from charrnn.runs.folder import read_summary
from charrnn.runs.sweep import SweepRefused, in_submitit_job, in_sweep
from charrnn.training.builders import build, build_callbacks, build_checkpoints, build_module, build_trainer
from charrnn.training.callbacks.checkpoint import Checkpoints
from charrnn.training.callbacks.monitor import Monitor
from charrnn.training.callbacks.progress import Curves
from charrnn.training.callbacks.recovery import Recovery
from charrnn.training.callbacks.stopping import StopOnSignal
from charrnn.training.config_checks import check_keys, run_length
from charrnn.training.distributed.consensus import Consensus, RunState
from charrnn.training.distributed.ranks import Ranks, find_ranks
from charrnn.training.logger import RunLogger
from charrnn.training.report import fix_kernel
from charrnn.training.resume import (
    Start,
    checkpoints_to_resume,
    choose,
    load_weights,
    refuse_used_folder,
    require_same_settings,
)  # fmt: skip
from charrnn.utils.cli import EXIT_FAILED
from charrnn.utils.config import plain
from charrnn.utils.errors import RequestError, RunFailed, Stopped, one_line
from charrnn.utils.process import prepare_process, when_parent_ends


@dataclass
class Preparation:
    """What is known of a run before anything is trained.

    `found`: the checkpoints it may go on from. `chosen`: kernel and threads of the run that goes on. `over`: the
    summary of a run that has made all its steps and has nothing left to do.
    """

    data: CharDataModule
    network: CharRNN
    steps: int
    threads: int
    found: list[tuple[Path, dict[str, Any]]]
    chosen: dict[str, Any]
    start: Start
    over: dict[str, Any] | None


def prepare(cfg: DictConfig, folder: Path, named: bool, ranks: Ranks, summary: dict[str, Any]) -> Preparation:
    """Read the text, make the network, find where to begin; `summary` gets what is known of them."""
    found = checkpoints_to_resume(cfg.resume_from, folder / "checkpoints", named)
    chosen = found[0][1]["charrnn"]["run"] if found else {}
    threads = chosen.get("threads", "auto") if cfg.threads == "auto" else cfg.threads
    sharing = 1 if ranks.starter == "Slurm" else ranks.here  # Slurm gives each process its own CPU cores
    summary["seed"], summary["threads"] = prepare_process(cfg.seed, threads, sharing)

    data: CharDataModule = build(cfg, "data")
    data.share(ranks.size)
    summary["corpus_sha256"], summary["vocabulary_size"] = data.corpus.sha256, len(data.vocabulary)
    network: CharRNN = build(cfg, "model", vocabulary_size=len(data.vocabulary))
    summary["parameters"] = network.parameter_count()
    steps = run_length(cfg.trainer.max_steps, cfg.trainer.max_epochs, data.batches_per_epoch, cfg.trainer)
    if found:
        require_same_settings(*found[0], plain(cfg), data)
    before = read_summary(folder)
    all_made = found and cfg.resume_from == "last" and before["status"] == "finished" and before["steps"] >= steps
    over = before if all_made else None
    start = Start(None, 0) if over else choose(found, steps, own=cfg.resume_from == "last")
    if not over and start.step == 0 and cfg.init_from is not None:
        load_weights(cfg.init_from, network, data)
    return Preparation(data, network, steps, summary["threads"], found, chosen, start, over)


@dataclass
class Training:
    """The parts that train the network; `kernel` computes its recurrence, for the reason `why`."""

    trainer: lightning.Trainer
    module: CharRNNModule
    state: RunState
    checkpoints: Checkpoints
    stop_on_signal: StopOnSignal
    threads: int
    kernel: str
    why: str

    def fit(self, data: CharDataModule, checkpoint: Path | None) -> None:
        """Train, from the checkpoint on if there is one; with several ranks Lightning starts those that are missing.

        Raises `RequestError` for settings that do not go together, and `RunFailed` if another rank has ended.
        """
        if self.trainer.world_size > 1:  # the ranks that are started read it; Lightning would change the number here
            os.environ.setdefault("OMP_NUM_THREADS", str(self.threads))
        try:
            self.trainer.fit(self.module, datamodule=data, ckpt_path=checkpoint)
        except MisconfigurationException as error:  # some settings meet only when Lightning sees the data
            raise RequestError(f"trainer: these settings can't be used: {error}") from error
        except RuntimeError as error:
            if isinstance(error, distributed.DistError) or "gloo" in str(error):
                raise RunFailed(f"process {self.trainer.global_rank} lost the others ({one_line(error)})") from error
            raise
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()


def assemble(
    cfg: DictConfig,
    ready: Preparation,
    folder: Path,
    ranks: Ranks,
    logger: Logger,
    watching: Sequence[Callback] = (),
    judges: Sequence[Callback] = (),
) -> Training:
    """Build the parts; the callbacks `watching`, and `judges`, who come last, are those of the first process alone."""
    state = RunState()
    checkpoints = build_checkpoints(cfg, folder / "checkpoints", state, ready.steps)
    recovery = Recovery(checkpoints, state, **plain(cfg.recovery))
    stop = StopOnSignal(state, listens=ranks.rank == 0 or ranks.starter != "Lightning")
    # In this order: what is written of a step, then the checkpoint that knows it, then the end.
    own = [Consensus(state), recovery, Curves(), *watching, checkpoints, stop, *judges]
    asked = [callback for callback in build_callbacks(cfg) if ranks.rank == 0 or not isinstance(callback, Monitor)]
    trainer = build_trainer(cfg, ready.data, logger, [*asked, *own], ranks)
    kernel, why = fix_kernel(ready.network, trainer, ready.chosen.get("kernel"))
    module = build_module(cfg, ready.data, ready.network, ready.steps, {"kernel": kernel, "threads": ready.threads})
    return Training(trainer, module, state, checkpoints, stop, ready.threads, kernel, why)


def find_own_rank(cfg: DictConfig, named: bool) -> Ranks:
    """Find this process among the ranks of the run; `RequestError` if these would not share one folder."""
    ranks = Ranks()
    with suppress(RequestError, AttributeError):  # of wrong settings: refused where all settings are checked
        ranks = find_ranks(cfg.trainer.devices, cfg.trainer.num_nodes)
    if ranks.size == 1:
        return ranks
    if in_sweep() and ranks.starter != "Slurm":
        raise SweepRefused
    if ranks.starter != "Lightning" and not named and not in_submitit_job():
        raise RequestError(f"{ranks.starter} has started {ranks.size} processes; name their folder: hydra.run.dir=DIR")
    return ranks


def train_as_follower(cfg: DictConfig, folder: Path, named: bool, ranks: Ranks) -> float:
    """Train beside rank 0, which alone says why the run stopped; what is wrong here alone ends all ranks."""
    logging.disable(logging.WARNING)
    if ranks.starter == "Lightning":
        when_parent_ends(lambda: os._exit(EXIT_FAILED))
    with suppress(Stopped, RunFailed):  # rank 0 has failed too, and says why
        check_keys(cfg)
        refuse_used_folder(cfg.resume_from, folder)
        if not cfg.dry_run:
            ready = prepare(cfg, folder, named, ranks, {})
            if ready.over is None and not ready.start.trained:
                logger = RunLogger(folder, name="", version="", default_hp_metric=False)
                assemble(cfg, ready, folder, ranks, logger).fit(ready.data, ready.start.path)
    return math.nan
