"""Write files atomically, and locate user paths and the cache."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRandom
from pathlib import Path


@contextmanager
def atomic_write(path: Path, keep: Path | None = None) -> Iterator[BufferedRandom]:
    """Open a temporary binary file that replaces `path` if the block succeeds; otherwise `path` stays unchanged.

    With `keep`, the replaced file is kept under that name. The temporary file is in the folder of `path`, because a
    rename is atomic only within a file system. It is flushed to disk (fsync) before the rename.
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
        temporary.chmod(0o666 & ~umask)  # mkstemp creates 0600; others may need to read the file
        if keep is not None and path.exists():
            keep.unlink(missing_ok=True)
            try:
                keep.hardlink_to(path)
            except OSError:  # this file system has no hard links
                path.replace(keep)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to a file atomically, as UTF-8 and with its line ends unchanged."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def append(path: Path, data: bytes) -> None:
    """Append `data` to a file; if it can't be written whole, as on a full disk, the file stays as it was."""
    left = memoryview(data)
    with path.open("ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            with suppress(OSError):
                file.truncate(size)
            raise


def command_folder() -> Path:
    """Return the folder where the command was given; `hydra.job.chdir` makes another one the current folder."""
    hydra = sys.modules.get("hydra.core.hydra_config")  # without it no run has begun; importing it takes time
    if hydra is None or not hydra.HydraConfig.initialized():
        return Path.cwd()
    return Path(hydra.HydraConfig.get().runtime.cwd)


def display_path(path: Path, base: Path | None = None) -> str:
    """Return the path as typed from `base`, by default the folder of the command; absolute if it is not below it."""
    absolute = Path(os.path.abspath(command_folder() / path))  # noqa: PTH100  # resolve() would replace symbolic links
    base = base or command_folder()
    return str(absolute.relative_to(base)) if absolute.is_relative_to(base) else str(absolute)


def user_path(typed: object) -> Path:
    """Return a path that a user typed, which counts from the folder where the command was given.

    `~` is expanded if it names a home folder (`~draft.txt` may be a file).
    """
    path = Path(str(typed))
    with suppress(RuntimeError):
        path = path.expanduser()
    folder = command_folder()
    return path if folder == Path.cwd() else folder / path


def cache_folder() -> Path:
    """Return the cache folder: `$XDG_CACHE_HOME/charrnn`, by default `~/.cache/charrnn`."""
    ensure_home()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "charrnn"


def ensure_home() -> None:
    """Set `HOME` to a temporary folder if this user has no home folder, like a bare user number in a container.

    Without one, some libraries fail and others write their caches into a folder named `~`.
    """
    if not os.environ.get("HOME", "unset"):  # empty: the root folder would be the home folder
        del os.environ["HOME"]
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"  # if there is no temporary folder either
        with suppress(OSError):
            home = Path(tempfile.gettempdir()) / f"charrnn-{os.getuid()}"
            home.mkdir(mode=0o700, exist_ok=True)
            os.environ["HOME"] = str(home)
