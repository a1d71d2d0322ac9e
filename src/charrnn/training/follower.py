"""Follower ranks (rank > 0): they train, but write no files and print nothing."""

import logging
import math
import os
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig

from charrnn.runs.sweep import SweepRefused, in_submitit_job, in_sweep
from charrnn.training.config_checks import check_keys
from charrnn.training.distributed.ranks import Ranks, find_ranks
from charrnn.training.logger import open_logger
from charrnn.training.preparation import prepare
from charrnn.training.resume import refuse_used_folder
from charrnn.training.setup import assemble
from charrnn.utils.cli import EXIT_FAILED
from charrnn.utils.errors import RequestError, RunFailed, Stopped
from charrnn.utils.process import when_parent_ends


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
            ready = prepare(cfg, folder, named, ranks)
            if ready.finished is None and not ready.start.trained:
                assemble(cfg, ready, folder, ranks, open_logger(folder, ready.start)).fit(ready)
    return math.nan
