"""What a process does that trains along with the first one, which alone writes and speaks."""

import logging
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from charrnn.checks import check_keys
from charrnn.errors import RequestError, Stopped
from charrnn.ranks import Ranks, find_ranks, helped
from charrnn.resume import refuse_used_folder
from charrnn.run_logger import RunLogger
from charrnn.training import assemble, prepare


def started_ranks(cfg: DictConfig, named: bool) -> Ranks:
    """This process among those that Slurm or torchrun has started for the run; what else is wrong is said later.

    Raises `RequestError` if they would not all come to the same folder.
    """
    started = Ranks()
    with suppress(RequestError, AttributeError):  # of a configuration that is none
        started = find_ranks(cfg.trainer.devices, cfg.trainer.num_nodes)
    if started.starter is None or "SUBMITIT_EXECUTOR" in os.environ:
        return started
    who = f"{started.starter} has started {started.size} processes"
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        raise RequestError(f"{who} of one run; for a sweep leave it out, or take hydra/launcher=slurm_ddp")
    if not named:
        raise RequestError(f"{who}; name their folder by hydra.run.dir=DIR")
    return started


def train_along(cfg: DictConfig, folder: Path, named: bool, started: Ranks) -> float:
    """Train along with a process that was started beside this one; it alone says what is wrong, or why it stopped."""
    with suppress(Stopped, RequestError):
        check_keys(cfg)
        refuse_used_folder(cfg.resume_from, folder)
        if not cfg.dry_run:
            with helped(started, 1, follow):
                list(follow(cfg, folder, named, started))
    return math.nan


def follow(cfg: DictConfig, folder: Path, named: bool, ranks: Ranks) -> Iterator[None]:
    """Get ready, yield, and meet the others to train."""
    logging.disable(logging.WARNING)
    ready = prepare(cfg, folder, named, ranks, {})
    if ready.over is None and not ready.start.trained:
        logger = RunLogger(folder, name="", version="", default_hp_metric=False)
        training = assemble(cfg, ready, folder, ranks, logger)
        yield
        training.fit(ready.data, ready.start.path)
