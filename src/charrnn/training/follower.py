"""Follower ranks (rank > 0): they train, but write no files and print nothing."""

import logging
import math
import os
from contextlib import suppress
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig

from charrnn.runs.sweep import SweepRefused, in_submitit_job, in_sweep
from charrnn.training.config_checks import check_keys
from charrnn.training.distributed.ranks import Ranks, find_ranks
from charrnn.training.loggers import Loggers
from charrnn.training.preparation import prepare
from charrnn.training.resume import refuse_used_folder
from charrnn.training.setup import assemble
from charrnn.utils.cli import EXIT_FAILED
from charrnn.utils.errors import RequestError, RunFailed, Stopped
from charrnn.utils.process import when_parent_ends


def find_own_rank(cfg: DictConfig, named: bool) -> Ranks:
    """Return the rank of this process in its run; raise `RequestError` if the ranks would not share one folder."""
    ranks = Ranks()
    with suppress(RequestError, AttributeError):  # wrong settings are refused later, where all are checked
        ranks = find_ranks(cfg.trainer.devices, cfg.trainer.num_nodes)
    rank_zero_only.rank = ranks.rank  # type: ignore[attr-defined]  # Lightning guesses it from variables such as RANK, also in independent runs
    if ranks.size == 1:
        return ranks
    if in_sweep() and ranks.launcher != "Slurm":
        raise SweepRefused
    if ranks.launcher != "Lightning" and not named and not in_submitit_job():
        raise RequestError(
            f"{ranks.launcher} started {ranks.size} processes; set the folder that they share with hydra.run.dir=DIR"
        )
    return ranks


def train_as_follower(cfg: DictConfig, folder: Path, named: bool, ranks: Ranks) -> float:
    """Train as a rank above 0. Rank 0 reports why the run stopped; an error on this rank alone ends all ranks."""
    logging.disable(logging.WARNING)
    if ranks.launcher == "Lightning":
        when_parent_ends(lambda: os._exit(EXIT_FAILED))
    with suppress(Stopped, RunFailed):  # rank 0 fails too, and reports it
        check_keys(cfg)
        refuse_used_folder(cfg.resume_from, folder)
        if not cfg.dry_run:
            ready = prepare(cfg, folder, named, ranks)
            if ready.finished is None and not ready.start.trained:
                assemble(cfg, ready, folder, ranks, Loggers(cfg, folder, ready.start)).fit(ready)
    return math.nan
