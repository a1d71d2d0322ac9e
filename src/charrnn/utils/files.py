"""Files that are there whole or not at all, and the folder for what can be made again."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path


@contextmanager
def atomic_write(path: Path, keep: Path | None = None) -> Iterator[BufferedRandom]:
    """A binary file, to write and to read, that takes the place of `path` when the block ends well; else that stays.

    With `keep` the file that it takes the place of stays under that name. The temporary file lies beside the target,
    since a rename is atomic on one file system only; it is on the disk (fsync) before it gets its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes 0600; a run folder is read by others as any file is
        if keep is not None and path.exists():
            keep.unlink(missing_ok=True)
            try:
                keep.hardlink_to(path)
            except OSError:  # a file system without links
                path.replace(keep)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically, line ends as they are."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def user_path(typed: object) -> Path:
    """The path that a user typed, `~` expanded where it stands for a home folder (`~draft.txt` may be a file)."""
    try:
        return Path(str(typed)).expanduser()
    except RuntimeError:
        return Path(str(typed))


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/charrnn`, by default `~/.cache/charrnn`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "charrnn"
