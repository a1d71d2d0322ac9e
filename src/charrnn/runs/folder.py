"""Run folders: their names, their lock, their summaries, the newest one.

outputs/<date>_<time>/          .hydra/ train.log events* checkpoints/{best,last}.ckpt samples.txt summary.json
outputs/sweep_<date>_<time>/    one such folder per job, leaderboard.csv, leaderboard.md
"""

import fcntl
import hashlib
import json
import logging
import math
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from charrnn.runs import checkpoint_file
from charrnn.utils.errors import RequestError
from charrnn.utils.files import user_path, write_text
from charrnn.utils.paths import OUTPUTS

log = logging.getLogger(__name__)

# The project is installed in place (pip install -e), so its outputs lie beside its sources.
CHECKPOINTS, BEST, LAST, PREVIOUS = "checkpoints", "best.ckpt", "last.ckpt", "previous.ckpt"
SUMMARY, LOG, SAMPLES = "summary.json", "train.log", "samples.txt"
LEADERBOARD = "leaderboard"  # .csv and .md
HYDRA_FOLDER, CONFIG, OVERRIDES = ".hydra", "config.yaml", "overrides.yaml"
LONGEST_NAME = 120  # file systems end at 255 bytes, and a path holds more than one name


def job_folder_name(overrides: str, job: int) -> str:
    """A sweep job's folder: its swept overrides, only letters, digits, `.`, `_` and `-`.

    Where that loses something (other characters, a name too long), a hash keeps two jobs apart.
    """
    if not overrides:
        return f"job-{job}"
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", overrides)
    if name == overrides and len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME].strip('_.-')}-{hashlib.sha256(overrides.encode()).hexdigest()[:8]}"


@contextmanager
def locked(run: Path, *, wait: bool = False) -> Iterator[None]:
    """Within the block no other process can be at work in this folder; `RequestError` if one is, or wait for its end.

    The system gives the lock back when the process ends, however it ends.
    """
    run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise RequestError(f"another run is at work in {run}; wait for its end, or name another folder") from None
        except OSError as error:  # some network file systems have no locks
            log.warning("%s can't be locked (%s); see to it that one run at a time uses it", run, error.strerror)
        yield
    finally:
        os.close(descriptor)


def checkpoint_of(run: Path) -> Path:
    """The run's best checkpoint, or its last one if there is no (whole) best. `RequestError` if there is neither."""
    for path in (run / CHECKPOINTS / BEST, run / CHECKPOINTS / LAST):
        if checkpoint_file.is_whole(path):
            return path
    raise RequestError(f"{run} holds no readable checkpoint ({CHECKPOINTS}/{BEST} or {LAST}); name another run")


def latest_run(outputs: Path = OUTPUTS) -> Path:
    """The newest run with a readable checkpoint, jobs of sweeps included."""
    files = sorted(outputs.rglob(f"{CHECKPOINTS}/*.ckpt"), key=lambda file: file.stat().st_mtime, reverse=True)
    for run in dict.fromkeys(file.parent.parent for file in files):
        try:
            checkpoint_of(run)
        except RequestError:
            continue
        return run
    raise RequestError(f"there is no run with a checkpoint in {outputs}; train one with: python train.py")


def find_checkpoint(run: str | None, checkpoint: str | None) -> Path:
    """The checkpoint that `--run latest|DIR` or `--checkpoint PATH` names."""
    if checkpoint is not None:
        return user_path(checkpoint)
    if run is None or run == "latest":
        return checkpoint_of(latest_run())
    found = named_folder(run)
    if found is None:
        raise RequestError(f"there is no run folder {user_path(run)}; name one, or write --run latest")
    if found.is_file():
        raise RequestError(f"{found} is a file; name it with --checkpoint")
    return checkpoint_of(found)


def named_folder(typed: str) -> Path | None:
    """What is there at the path that a user typed, or in `outputs` under that name; None if there is nothing."""
    named = user_path(typed)
    return next((place for place in (named, OUTPUTS / named) if place.exists()), None)


def resume_command(run: Path) -> str:
    """The command that began the run, made to go on with it."""
    file = run / HYDRA_FOLDER / OVERRIDES
    overrides = [str(override) for override in OmegaConf.load(file)] if file.exists() else []
    kept = [override for override in overrides if not override.startswith(("resume_from=", "sweep."))]
    return shlex.join(["python", "train.py", *kept, f"hydra.run.dir={run.absolute()}", "resume_from=last"])


def write_settings(run: Path, cfg: DictConfig) -> None:
    """What Hydra would write into `.hydra/`, but only of a run that takes place: not of a command that is refused."""
    texts = {CONFIG: OmegaConf.to_yaml(cfg)}
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        texts["hydra.yaml"] = OmegaConf.to_yaml({"hydra": hydra})
        texts[OVERRIDES] = OmegaConf.to_yaml(hydra.overrides.task)
    for name, text in texts.items():
        write_text(run / HYDRA_FOLDER / name, text)


def write_summary(run: Path, summary: dict[str, Any]) -> None:
    """Write `summary.json`, atomically."""
    write_text(run / SUMMARY, json_text(summary, indent=2) + "\n")


def json_text(values: dict[str, Any], indent: int | None = None) -> str:
    """JSON; NaN and infinity, which it does not know, become null."""
    nothing = {key: None for key, value in values.items() if isinstance(value, float) and not math.isfinite(value)}
    return json.dumps({**values, **nothing}, indent=indent, allow_nan=False)


def read_summary(run: Path) -> dict[str, Any]:
    """The run's summary; one with the status `missing` or `unreadable` if there is none to be read."""
    try:
        summary: dict[str, Any] = {**json.loads((run / SUMMARY).read_text("utf-8"))}
    except FileNotFoundError:
        return {"status": "missing", "reason": f"it left no {SUMMARY}"}
    except (OSError, TypeError, ValueError):
        return {"status": "unreadable", "reason": f"{SUMMARY} is not a JSON object"}
    return summary
