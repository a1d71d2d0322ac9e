"""Read the settings, summary and validation curve of runs from their folders; a broken run does not raise an error."""

import csv
import glob
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]  # comes with OmegaConf

from charrnn.runs.folder import (
    CHECKPOINTS,
    CONFIG,
    HYDRA_FOLDER,
    METRICS,
    OVERRIDES,
    SUMMARY,
    named_folder,
    read_summary,
)
from charrnn.utils.config import flattened
from charrnn.utils.errors import RequestError
from charrnn.utils.files import user_path

CURVE = "bits_per_char/val"
STEP = "step"  # the column of metrics.csv


@dataclass(frozen=True)
class Record:
    """The settings and summary of a run; `settings` has dotted keys (`model.hidden`), and is empty if unreadable."""

    folder: Path
    settings: dict[str, Any]
    summary: dict[str, Any]

    @property
    def complete(self) -> bool:
        """Whether the run has a result, see `is_complete`."""
        return is_complete(self.summary)

    def number(self, key: str) -> float | None:
        """Return a number of the summary, or None if it is missing, NaN or infinite."""
        value = self.summary.get(key)
        return value if isinstance(value, int | float) and math.isfinite(value) else None


def is_complete(summary: Mapping[str, Any]) -> bool:
    """Return whether a run finished training, also if a callback or `max_minutes` ended it early; a dry run did not."""
    return summary.get("status") == "finished" and not str(summary.get("reason")).startswith("dry_run")


class Point(NamedTuple):
    """One validation during training."""

    step: int
    seconds: float
    bits_per_char: float


def find_runs(patterns: Iterable[str]) -> list[Path]:
    """Return the folders of all runs in the given folders or glob patterns, each once; matching files are skipped."""
    patterns = list(patterns)
    # abspath instead of Path.resolve, which would replace links by their targets
    folders = [Path(os.path.abspath(folder)) for pattern in patterns for folder in _folders(pattern)]  # noqa: PTH100
    found = {run.resolve(): run for folder in folders for run in runs_below(folder)}
    if not found:
        raise RequestError(f"no run found in {', '.join(patterns)}; a run folder contains {HYDRA_FOLDER} or {SUMMARY}")
    return list(found.values())


def _folders(pattern: str) -> list[Path]:
    if found := named_folder(pattern):
        return [found]
    matches = sorted(glob.glob(str(user_path(pattern)), recursive=True))  # noqa: PTH207  # Path.glob refuses absolute ones
    if not matches:
        raise RequestError(f"no folder matches {pattern}; name runs, sweeps, or a pattern such as 'outputs/sweep_*'")
    return [Path(match) for match in matches]


def runs_below(folder: Path) -> Iterator[Path]:
    """Yield every run folder in this folder, including itself, at any depth, sorted by name."""
    for root, folders, files in os.walk(folder):
        if HYDRA_FOLDER in folders or SUMMARY in files:
            yield Path(root)
        folders[:] = sorted(name for name in folders if name != CHECKPOINTS and not name.startswith("."))


def read_run(folder: Path) -> Record:
    """Read a run with all its settings. Interpolations such as `${seed}` stay unresolved, so they do not differ."""
    settings = _load(folder / HYDRA_FOLDER / CONFIG)
    return Record(folder, flattened(settings) if isinstance(settings, dict) else {}, read_summary(folder))


def read_job(folder: Path) -> Record:
    """Read a run with only the settings that were named on its command line, as typed."""
    overrides = _load(folder / HYDRA_FOLDER / OVERRIDES)
    pairs = [str(override).partition("=") for override in overrides] if isinstance(overrides, list) else []
    return Record(folder, {key: value for key, _, value in pairs}, read_summary(folder))


def named_settings(run: Path) -> set[str]:
    """Return the keys that the run's command line named; of a job of a sweep, only those that are swept."""
    named = {key.lstrip("+~") for key in read_job(run).settings}
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        named -= set(HydraConfig.get().job.config.override_dirname.exclude_keys)
    return named


def _load(file: Path) -> Any:
    """Return the dictionary or list in a YAML file; None if the file is missing, damaged, or half written."""
    try:
        return OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return None


def read_metrics(file: Path) -> list[dict[str, str]]:
    """Return the rows of a `metrics.csv`, each with the metrics that it has; a row that was cut off is left out."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        whole = [row for row in csv.DictReader(lines) if None not in (*row, *row.values()) and row[STEP].isdigit()]
    return [{name: cell for name, cell in row.items() if cell} for row in whole]


def validation_curve(record: Record) -> Sequence[Point]:
    """Return the validations during training, from `metrics.csv` or the TensorBoard events; empty if there are none.

    The training time in the summary is spread evenly over the steps; without a summary, wall-clock time is used.
    """
    steps, seconds = record.number("steps"), record.number("train_seconds")
    if steps and seconds:
        rows = read_metrics(record.folder / METRICS)
        curve = {int(row[STEP]): float(row[CURVE]) for row in rows if CURVE in row}
        if curve:
            return [Point(step, step * seconds / steps, bits) for step, bits in curve.items() if math.isfinite(bits)]
    return _curve_of_events(record, seconds / steps if steps and seconds else None)


def _curve_of_events(record: Record, seconds_per_step: float | None) -> Sequence[Point]:
    """Return the validations in the TensorBoard events: of a run without a summary, or an old one."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # else it reports each point repeated by a resume
    sizes = {"scalars": 0, "images": 1, "audio": 1, "histograms": 1, "compressedHistograms": 1, "tensors": 1}
    events = EventAccumulator(str(record.folder), size_guidance=sizes).Reload()
    if CURVE not in events.Tags()["scalars"]:
        return []
    start = events.FirstEventTimestamp()
    return [
        Point(
            point.step,
            point.wall_time - start if seconds_per_step is None else point.step * seconds_per_step,
            point.value,
        )
        for point in events.Scalars(CURVE)
        if math.isfinite(point.value)
    ]
