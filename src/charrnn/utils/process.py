"""The global switches of a process, all set by every run: the jobs of a sweep share a process."""

import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable

from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_integer

MOST_THREADS = 8  # the matmuls of a small network are too short to be shared among more
# Of threads that wait for work: enough for the pause between two operations. By default they spin for ever, and a run
# beside another program became ten times slower.
SPIN_COUNT = "1000"
# What Lightning says about settings that are the run's own business, not the user's.
NOT_FOR_USERS = (
    "The number of training batches",
    "The dirpath has changed",
    "Be aware that when using `ckpt_path`",
    "It is recommended to use `self.log",  # with sync_dist; the figure is that of all processes already
    "The `srun` command is available",  # one may well train without it
)


def set_before_torch() -> None:
    """Environment variables that are read when torch and NumPy are loaded."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy takes single steps, too short to be shared


class ScreenHandler(logging.StreamHandler):
    """Writes log lines to the screen; a reader that went away (`train.py | head`) does not disturb the run."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


def prepare_process(seed: object, threads: object, processes: int = 1) -> tuple[int, int]:
    """Set generators, threads, precision and who may write to the screen; return seed and threads, checked.

    So many `processes` of this machine do the same.
    """
    import lightning  # only here: `set_before_torch` comes first
    import torch

    seed = require_integer("seed", seed, minimum=0)
    if seed >= 2**32:
        raise RequestError(f"seed must be below 2**32, got {seed}")
    threads = default_threads(processes) if threads == "auto" else require_integer("threads", threads)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):  # its own handlers keep its words out of ours
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # else it tells of its list of fonts
    logging.captureWarnings(True)
    for category in (DeprecationWarning, FutureWarning):  # what the libraries have to say about themselves
        warnings.filterwarnings("ignore", category=category, module=r"(torch|lightning)\.")
    for message in NOT_FOR_USERS:
        warnings.filterwarnings("ignore", message=message)
    lightning.seed_everything(seed, workers=True, verbose=False)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # numbers that small cost many times as much on some CPUs
    torch.set_float32_matmul_precision("highest")
    return seed, threads


def when_parent_ends(act: Callable[[], None]) -> None:
    """Let a thread call `act` once the process that started this one has ended."""
    parent = os.getppid()

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        act()

    threading.Thread(target=wait, daemon=True).start()


def default_threads(jobs: int = 1) -> int:
    """The processors' share of one of so many jobs, at most MOST_THREADS; OMP_NUM_THREADS wins, as everywhere."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return min(max(1, cpu_cores() // jobs), MOST_THREADS)


def cpu_cores() -> int:
    """How many CPU cores this process may use: those of its machine, or what Slurm gave it of them."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")  # not every cluster binds its jobs to their CPU cores
    return min(there, int(given)) if given.isdigit() and int(given) > 0 else there
