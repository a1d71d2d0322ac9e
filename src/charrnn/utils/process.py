"""Set the global state of a process: seeds, threads, precision, warnings.

Every run sets all of it, because the jobs of a sweep share a process.
"""

import ctypes
import logging
import math
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from charrnn.utils.errors import RequestError
from charrnn.utils.files import ensure_home
from charrnn.utils.validation import require_integer

MAX_THREADS = 8  # the matmuls of a small network are too short to benefit from more
# Idle OpenMP threads spin this often before they sleep: long enough for the pause between two operations. By default
# they spin forever, which made a run ten times slower when another program was running. See docs/benchmark.md.
SPIN_COUNT = "2000"
MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # glibc's numbers for these settings
LARGEST_KEPT = 2**26  # bytes of a piece of memory
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
# Lightning warns about settings that the run chooses itself, so the user cannot act on these messages.
HIDDEN_WARNINGS = (
    "The number of training batches",
    "The dirpath has changed",
    "Be aware that when using `ckpt_path`",
    "It is recommended to use `self.log",  # with sync_dist: the value is reduced already
    "When using the `ThroughputMonitor`",
    "The `srun` command is available",  # training without srun is fine
)


def set_before_torch() -> None:
    """Set the environment variables that torch, NumPy and others read when they are imported."""
    ensure_home()
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    # NumPy computes single time steps here, which are too short for more threads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not os.environ.get("MPLBACKEND", "module://").startswith("module://"):  # not a notebook's
        os.environ["MPLBACKEND"] = "agg"  # plots are only written to files; others may need a screen
    for name in RANK_VARIABLES:  # Lightning reads them when it is imported, and fails
        if not os.environ.get(name, "0").isdigit():
            del os.environ[name]


class LogFile(logging.FileHandler):
    """Writes log lines to train.log; if a full disk loses them, the run continues, and the screen has them."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def prepare_process(seed: object, threads: object, processes: int = 1, *, tf32: bool = False) -> tuple[int, int]:
    """Set random seeds, threads, precision and log levels; return the checked seed and number of threads.

    `processes` of this machine share its CPU cores. With `tf32`, NVIDIA GPUs multiply float32 numbers as TF32.
    """
    import lightning  # imported here because `set_before_torch` must run first
    import torch

    seed = require_integer("seed", seed, minimum=0)
    if seed >= 2**32:
        raise RequestError(f"seed must be below 2**32, got {seed}")
    threads = default_threads(processes) if threads == "auto" else require_integer("threads", threads)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):  # Lightning's handlers bypass our log
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # the report of trainer.profiler
    logging.captureWarnings(True)
    for category in (DeprecationWarning, FutureWarning):  # the user cannot fix these in the libraries
        warnings.filterwarnings("ignore", category=category, module=r"(torch|lightning)\.")
    for message in HIDDEN_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    lightning.seed_everything(seed, workers=True, verbose=False)
    torch.set_num_threads(threads)
    keep_freed_memory()
    torch.set_flush_denormal(True)  # denormal numbers are many times slower on some CPUs
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32  # torch's own default is True, for recurrent layers too
    return seed, threads


def keep_freed_memory() -> None:
    """Let the process keep memory that it frees: a step needs the same again. See docs/benchmark.md.

    By default glibc gives large pieces back to the system, and each step waits for hundreds of fresh pages.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries lack it
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(TRIM_THRESHOLD, 4 * LARGEST_KEPT)


def when_parent_ends(action: Callable[[], None]) -> None:
    """Start a thread that calls `action` when the parent process has ended."""
    parent = os.getppid()

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        action()

    threading.Thread(target=wait, daemon=True).start()


def default_threads(jobs: int = 1) -> int:
    """Return the threads for one of `jobs` parallel jobs, at most MAX_THREADS; OMP_NUM_THREADS overrides this."""
    requested = os.environ.get("OMP_NUM_THREADS", "")
    if requested.isdigit() and int(requested) > 0:
        return int(requested)
    return min(max(1, cpu_cores() // jobs), MAX_THREADS)


def cpu_cores() -> int:
    """Return the number of CPU cores that this process may use: its share of those of the machine.

    A Slurm job and a container with a CPU quota (`docker run --cpus 2`) may see all cores but not use them.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allocated = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if allocated.isdigit() and int(allocated) > 0:
        available = min(available, int(allocated))
    return max(1, int(min(available, cpu_quota())))  # threads with less than a core each would wait for each other


def cpu_quota(mount: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float:
    """Return the number of CPU cores whose time the control groups of this process may use; infinity without a quota.

    A group obeys the quotas of its parents too. A container may see its group as the root, or not see its path.
    """
    quotas = [math.inf]
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in {mount / controllers, mount / "cpu"} if controllers else {mount}:  # cgroup v1, or v2
            group = root / path.lstrip("/")
            for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(root))):
                v1 = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
                limit = (_read(folder / "cpu.max") or " ".join(v1)).split()
                if len(limit) == 2 and all(number.isdigit() for number in limit):  # otherwise max or -1: no quota
                    quotas.append(int(limit[0]) / int(limit[1]))
    return min(quotas)


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError:
        return ""
