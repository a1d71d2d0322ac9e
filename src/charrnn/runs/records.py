"""What runs left in their folders, read back: settings, summary, validation curve. A broken run is no error here."""

import glob
import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]  # comes with OmegaConf

from charrnn.runs.folder import CHECKPOINTS, CONFIG, HYDRA_FOLDER, OVERRIDES, SUMMARY, named_folder, read_summary
from charrnn.utils.config import flattened
from charrnn.utils.errors import RequestError
from charrnn.utils.files import user_path

CURVE = "bits_per_char/val"


@dataclass(frozen=True)
class Record:
    """A run as its folder tells of it; `settings` under the keys that a user types, none if they can't be read."""

    folder: Path
    settings: dict[str, Any]
    summary: dict[str, Any]

    @property
    def complete(self) -> bool:
        """Whether it trained to its end; a dry run did not."""
        return self.summary.get("status") == "finished" and not self.summary.get("reason")

    def number(self, key: str) -> float | None:
        """A figure of the summary; None where there is none, or none that is finite."""
        value = self.summary.get(key)
        return value if isinstance(value, int | float) and math.isfinite(value) else None


class Point(NamedTuple):
    """One validation during training."""

    step: int
    seconds: float
    bits_per_char: float


def find_runs(places: Iterable[str]) -> list[Path]:
    """The folders of all runs in these folders or patterns, each once; files in `outputs/sweep/*` are passed over."""
    places = list(places)
    folders = [Path(os.path.abspath(folder)) for place in places for folder in _folders(place)]  # noqa: PTH100  # no links
    found = {run.resolve(): run for folder in folders for run in runs_below(folder)}
    if not found:
        raise RequestError(f"there is no run in {', '.join(places)}; a run's folder holds {HYDRA_FOLDER} or {SUMMARY}")
    return list(found.values())


def _folders(place: str) -> list[Path]:
    if found := named_folder(place):
        return [found]
    matching = sorted(glob.glob(str(user_path(place)), recursive=True))  # noqa: PTH207  # absolute patterns too
    if not matching:
        raise RequestError(f"there is no folder {place}; name runs, sweeps, or a pattern such as 'outputs/sweep_*'")
    return [Path(folder) for folder in matching]


def runs_below(folder: Path) -> Iterator[Path]:
    """Every folder that holds a run: this one and those in it, at any depth, in the order of their names."""
    for root, folders, files in os.walk(folder):
        if HYDRA_FOLDER in folders or SUMMARY in files:
            yield Path(root)
        folders[:] = sorted(name for name in folders if name != CHECKPOINTS and not name.startswith("."))


def read_run(folder: Path) -> Record:
    """The run with all its settings, as they stand in the file: `${seed}` is the same in every run."""
    settings = _load(folder / HYDRA_FOLDER / CONFIG)
    return Record(folder, flattened(settings) if isinstance(settings, dict) else {}, read_summary(folder))


def read_job(folder: Path) -> Record:
    """The run with the settings that its command named, and no others, as they were typed."""
    overrides = _load(folder / HYDRA_FOLDER / OVERRIDES)
    pairs = [str(override).partition("=") for override in overrides] if isinstance(overrides, list) else []
    return Record(folder, {key: value for key, _, value in pairs}, read_summary(folder))


def _load(file: Path) -> Any:
    """The file's dictionary or list, None if it can't be read: it may be missing, torn, or half written."""
    try:
        return OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return None


def validation_curve(record: Record) -> Sequence[Point]:
    """The validations during training, from the TensorBoard events; empty if there are none.

    The seconds are the summary's, spread evenly over the steps; while there are none, those on the clock.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it tells of every point that a resume wrote again
    sizes = {"scalars": 0, "images": 1, "audio": 1, "histograms": 1, "compressedHistograms": 1, "tensors": 1}
    events = EventAccumulator(str(record.folder), size_guidance=sizes).Reload()
    if CURVE not in events.Tags()["scalars"]:
        return []
    begun, steps, seconds = events.FirstEventTimestamp(), record.number("steps"), record.number("train_seconds")
    return [
        Point(point.step, point.step * seconds / steps if steps and seconds else point.wall_time - begun, point.value)
        for point in events.Scalars(CURVE)
        if math.isfinite(point.value)
    ]
