"""Run folders: their names, their lock, their summaries, the newest one.

outputs/<date>_<time>/          .hydra/ train.log events* checkpoints/{best,last}.ckpt samples.txt summary.json
                                metrics.csv
outputs/sweep_<date>_<time>/    one such folder per job, leaderboard.csv, leaderboard.md
"""

import fcntl
import hashlib
import json
import logging
import math
import os
import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from charrnn.runs import checkpoint_file
from charrnn.utils.cli import print_error
from charrnn.utils.errors import RequestError
from charrnn.utils.files import display_path, user_path, write_text
from charrnn.utils.paths import OUTPUTS
from charrnn.utils.streams import is_terminal

log = logging.getLogger(__name__)

CHECKPOINTS, BEST, LAST, PREVIOUS = "checkpoints", "best.ckpt", "last.ckpt", "previous.ckpt"
SUMMARY, LOG, SAMPLES = "summary.json", "train.log", "samples.txt"
METRICS = "metrics.csv"
LEADERBOARD, MULTIRUN = "leaderboard", "multirun.yaml"  # of a sweep; the first as .csv and .md
HYDRA_FOLDER, CONFIG, OVERRIDES = ".hydra", "config.yaml", "overrides.yaml"
LONGEST_NAME = 120  # most file systems allow 255 bytes
SWEEP_FILES = (f"{LEADERBOARD}.csv", MULTIRUN, "study.db")  # a folder with one of them is a sweep or a search


def job_folder_name(overrides: str, job: int) -> str:
    """Return the name of a sweep job's folder: its swept overrides in letters, digits, `.`, `_` and `-`.

    A hash keeps two jobs apart whose names lose other characters, or are cut because they are too long.
    """
    if not overrides:
        return f"job-{job}"
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", overrides)
    if name == overrides and len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME].strip('_.-')}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


@contextmanager
def locked(run: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other runs out of this folder within the block; raise `RequestError` if one is running, or wait for its end.

    The operating system releases the lock when the process ends, however it ends.
    """
    run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise RequestError(
                f"another run is running in {run}; wait for it to end, or choose another folder"
            ) from None
        except OSError as error:  # some network file systems have no locks
            log.warning("%s can't be locked (%s); make sure that only one run uses it at a time", run, error.strerror)
        yield
    finally:
        os.close(descriptor)


def checkpoint_of(run: Path) -> Path:
    """Return the run's best checkpoint, or its last one if the best is missing or damaged.

    Raises `RequestError` if neither can be read.
    """
    for path in (run / CHECKPOINTS / BEST, run / CHECKPOINTS / LAST):
        if checkpoint_file.is_whole(path):
            return path
    raise RequestError(f"{run} holds no readable checkpoint ({CHECKPOINTS}/{BEST} or {LAST}); choose another run")


def latest_run(outputs: Path = OUTPUTS) -> Path:
    """Return the newest run with a readable checkpoint, jobs of sweeps included."""
    files = sorted(outputs.rglob(f"{CHECKPOINTS}/*.ckpt"), key=lambda file: file.stat().st_mtime, reverse=True)
    for run in dict.fromkeys(file.parent.parent for file in files):
        try:
            checkpoint_of(run)
        except RequestError:
            continue
        return run
    raise RequestError(f"no run in {outputs} has a checkpoint; train one with train.py")


def checkpoint_at(path: Path) -> Path:
    """Return the checkpoint that a path names: the file itself, or the best one of a run's or a sweep's folder."""
    if path.name == CHECKPOINTS and path.is_dir():
        path = path.parent
    if (path / CHECKPOINTS).is_dir():
        return checkpoint_of(path)
    return checkpoint_of(best_run_of(path)) if any((path / name).exists() for name in SWEEP_FILES) else path


def best_run_of(sweep: Path) -> Path:
    """Return the run of a sweep with the best validation score; runs without a score or a checkpoint do not count."""
    scores: list[tuple[float, Path]] = []
    for file in sweep.rglob(SUMMARY):
        bits = read_summary(file.parent).get("val_bits_per_char")
        if isinstance(bits, int | float):
            scores.append((bits, file.parent))
    for _, run in sorted(scores):
        with suppress(RequestError):
            checkpoint_of(run)
            return run
    raise RequestError(f"no run of the sweep {sweep} has a score and a checkpoint; name one of its runs")


def find_checkpoint(run: str | None, checkpoint: str | None) -> Path:
    """Return the checkpoint that `--run latest|DIR` or `--checkpoint PATH` names; of a folder, its best one."""
    if checkpoint is not None:
        return checkpoint_at(user_path(checkpoint))
    if run is None or run == "latest":
        return checkpoint_of(latest_run())
    found = named_folder(run)
    if found is None:
        raise RequestError(f"there is no run folder {user_path(run)}; choose one, or use --run latest")
    if found.is_file():
        raise RequestError(f"{found} is a file; use --checkpoint for it")
    best = checkpoint_at(found)
    return checkpoint_of(found) if best == found else best


def say_latest(program: str, arguments: Namespace, checkpoint: Path) -> None:
    """Say on stderr which run was the latest, if none was named; nothing if stderr is not a terminal."""
    if arguments.checkpoint is None and arguments.run in (None, "latest") and is_terminal(sys.stderr):
        print_error(program, f"the latest run is {display_path(checkpoint.parent.parent)}")


def named_folder(typed: str) -> Path | None:
    """Return the existing path that a user typed, as such or below `outputs`; None if there is none."""
    named = user_path(typed)
    return next((path for path in (named, OUTPUTS / named) if path.exists()), None)


def write_summary(run: Path, summary: dict[str, Any]) -> None:
    """Write `summary.json`, atomically."""
    write_text(run / SUMMARY, json_text(summary, indent=2) + "\n")


def json_text(values: dict[str, Any], indent: int | None = None) -> str:
    """Return the values as JSON; NaN and infinity, which JSON does not have, become null."""
    nothing = {key: None for key, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
    return json.dumps({**values, **nothing}, indent=indent, allow_nan=False)


def read_summary(run: Path) -> dict[str, Any]:
    """Return the run's summary; without a readable one its status is `missing` or `unreadable`."""
    try:
        summary: dict[str, Any] = {**json.loads((run / SUMMARY).read_text("utf-8"))}
    except FileNotFoundError:
        return {"status": "missing", "reason": f"it left no {SUMMARY}"}
    except (OSError, TypeError, ValueError):
        return {"status": "unreadable", "reason": f"{SUMMARY} is not a JSON object"}
    return summary
