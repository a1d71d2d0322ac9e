"""Write `summary.json` however a run ends."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from charrnn.runs.folder import (
    CHECKPOINTS,
    PREVIOUS,
    SUMMARY,
    json_text,
    read_summary,
    write_summary,
)
from charrnn.runs.settings_files import write_settings
from charrnn.utils.errors import Pruned, RequestError, RunFailed, Stopped, one_line

log = logging.getLogger(__name__)

# The disk is full, over its quota, read-only, or broken.
DISK_PROBLEMS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)

SUMMARY_KEYS = (
    "status", "reason", "val_nats_per_char", "val_bits_per_char", "test_bits_per_char", "best_step", "steps",
    "train_seconds", "train_chars_per_second", "parameters", "vocabulary_size", "corpus_sha256", "seed", "kernel",
    "threads", "checkpoint",
)  # fmt: skip


class RunRecord:
    """Collects what `summary.json` will say of a run; `before` is the earlier summary of its folder, or None."""

    def __init__(self, folder: Path, cfg: DictConfig) -> None:
        self._folder, self._cfg = folder, cfg
        self.summary: dict[str, Any] = dict.fromkeys(SUMMARY_KEYS)
        self.before = read_summary(folder) if (folder / SUMMARY).exists() else None
        if self.before is None:
            write_settings(folder, cfg)

    def update(self, **values: Any) -> None:
        self.summary.update(values)

    def keep_earlier_summary(self) -> None:
        """Leave the summary of the run that the folder already has as it is."""
        if self.before is not None:
            self.summary = self.before

    def begin(self) -> None:
        """Record that training starts: from now on the settings are those of this command, and a kill is noticed."""
        if self.before is not None:
            write_settings(self._folder, self._cfg)
        write_summary(self._folder, {**self.summary, "status": "interrupted", "reason": "still running, or killed"})


@contextmanager
def _disk_problems(folder: Path) -> Iterator[None]:
    """Turn an error of the disk into `RunFailed`."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_PROBLEMS:
            raise
        raise RunFailed(
            f"{error.filename or folder} can't be written: {error.strerror}; make room, or choose another hydra.run.dir"
        ) from error


@contextmanager
def recorded(folder: Path, cfg: DictConfig) -> Iterator[RunRecord]:
    """Write `summary.json` when the block ends, with the status that follows from how it ends.

    `Stopped` makes it interrupted, `Pruned` pruned, any other exception failed; each is raised again. A request that
    is refused changes nothing in a folder that already has a run.
    """
    with _disk_problems(folder):
        record = RunRecord(folder, cfg)
    try:
        with _disk_problems(folder):
            yield record
        if record.summary is not record.before:
            record.summary["status"] = "finished"
    except BaseException as error:
        if isinstance(error, RequestError) and record.before is not None:
            record.keep_earlier_summary()
        else:
            status = {Stopped: "interrupted", Pruned: "pruned"}.get(type(error), "failed")
            record.update(status=status, reason=one_line(error) or type(error).__name__)
        _write(folder, record.summary)
        raise
    with _disk_problems(folder):
        _write(folder, record.summary)
    if record.summary["status"] == "finished" and record.summary.get("steps"):
        (folder / CHECKPOINTS / PREVIOUS).unlink(missing_ok=True)  # a finished run never returns to it


def _write(folder: Path, summary: dict[str, Any]) -> None:
    """Write the summary if it is new; if the disk is full, log what it would say, and raise the error."""
    if read_summary(folder) == summary:
        return
    try:
        write_summary(folder, summary)
    except OSError as error:
        log.error("can't write %s (%s); it would say: %s", folder / SUMMARY, error.strerror, json_text(summary))
        if summary["status"] == "finished":
            raise
