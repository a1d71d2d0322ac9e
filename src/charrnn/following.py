"""Follower ranks (rank > 0): they train, but write no files and print nothing."""

import logging
import math
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig

from charrnn.checks import check_keys
from charrnn.errors import RequestError, Stopped
from charrnn.ranks import Ranks, find_ranks
from charrnn.resume import refuse_used_folder
from charrnn.run_logger import RunLogger
from charrnn.sweep import SweepRefused, in_submitit_job, in_sweep
from charrnn.training import assemble, prepare


def find_own_rank(cfg: DictConfig, named: bool) -> Ranks:
    """Find this process among the ranks of the run, before its settings are checked.

    Raises `RequestError` if the ranks would not share one folder.
    """
    ranks = Ranks()
    with suppress(RequestError, AttributeError):  # of wrong settings: refused where all settings are checked
        ranks = find_ranks(cfg.trainer.devices, cfg.trainer.num_nodes)
    if ranks.size == 1 or in_submitit_job():
        return ranks
    if in_sweep():
        raise SweepRefused(
            f"a sweep trains each run on one device, got trainer.devices={cfg.trainer.devices}; for a single run leave "
            "out -m (torchrun works too), for a sweep on a cluster use hydra/launcher=slurm_ddp"
        )
    if ranks.starter != "Lightning" and not named:
        raise RequestError(f"{ranks.starter} has started {ranks.size} processes; name their folder: hydra.run.dir=DIR")
    return ranks


def train_as_follower(cfg: DictConfig, folder: Path, named: bool, ranks: Ranks) -> float:
    """Train beside rank 0, which alone says what is wrong with a request or why the run stopped; return nan."""
    logging.disable(logging.WARNING)
    with suppress(Stopped, RequestError):
        check_keys(cfg)
        refuse_used_folder(cfg.resume_from, folder)
        if not cfg.dry_run:
            ready = prepare(cfg, folder, named, find_ranks(cfg.trainer.devices, cfg.trainer.num_nodes), {})
            if ready.over is None and not ready.start.trained:
                logger = RunLogger(folder, name="", version="", default_hp_metric=False)
                assemble(cfg, ready, folder, ranks, logger).fit(ready.data, ready.start.path)
    return math.nan
