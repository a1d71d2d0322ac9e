"""Remove what a refused command or a dry run leaves: Hydra makes the folder and its log before anything is checked."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from charrnn.runs.folder import CHECKPOINTS, HYDRA_FOLDER, LEADERBOARD, LOG, MULTIRUN, SAMPLES, SUMMARY, locked
from charrnn.utils.errors import RequestError

OF_A_RUN = (LOG, SUMMARY, SAMPLES, HYDRA_FOLDER)
OF_A_SWEEP = (MULTIRUN, f"{LEADERBOARD}.csv", f"{LEADERBOARD}.md")


@dataclass(frozen=True)
class Before:
    """Holds what a folder contained before the command, and which of its parents existed."""

    folder: Path
    names: frozenset[str]
    missing: tuple[Path, ...]  # the folder and its parents, as far as they did not exist, innermost first
    of_a_run: tuple[str, ...]  # what a run without results leaves

    @classmethod
    def of(cls, folder: Path, settings_folder: str | None) -> "Before":
        """Look at a folder that a run or a sweep is about to use; Hydra may write its settings into another one."""
        names = frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()
        missing = tuple(path for path in (folder, *folder.parents) if not path.exists())
        return cls(folder, names, missing, (*OF_A_RUN, *([Path(settings_folder).name] if settings_folder else [])))

    def has_run(self) -> bool:
        """Return whether a run has begun in the folder: it writes its settings first."""
        return (self.folder / HYDRA_FOLDER).exists()

    def restore_run(self) -> None:
        """Remove the new files of a run without results, and the new folders that are empty then."""
        if self.folder.is_dir() and not any((self.folder / CHECKPOINTS).glob("*.ckpt")):
            with suppress(RequestError), locked(self.folder):  # another process may have started a run there
                _remove(self.folder / name for name in self.of_a_run if name not in self.names)
        self._remove_empty_folders()

    def restore_sweep(self) -> None:
        """Remove the new jobs of a sweep that left no results, and the files about them."""
        for job in [path for path in self.folder.glob("*/") if path.name not in self.names]:
            Before(job, frozenset(), (job,), self.of_a_run).restore_run()
        _remove(self.folder / name for name in OF_A_SWEEP if name not in self.names)
        self._remove_empty_folders()

    def _remove_empty_folders(self) -> None:
        with suppress(OSError):  # the first one that is not empty ends it
            for folder in self.missing:
                folder.rmdir()


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
