"""One checkpoint file: written atomically, read without running anything that is in it. No Lightning here.

A checkpoint is Lightning's dictionary (`state_dict` and the rest) with one more entry, `charrnn`: the format's
version, the network's settings, the vocabulary and where the text came from, all plain values.
"""

import zipfile
from pathlib import Path
from typing import Any

from charrnn.errors import RequestError
from charrnn.files import atomic_write

FORMAT = 1


def write(checkpoint: dict[str, Any], path: Path) -> None:
    """Save `checkpoint`: the file is there whole or not at all."""
    import torch  # only here: finding and naming runs needs no torch, and it takes a second

    with atomic_write(path) as file:
        torch.save(checkpoint, file)


def read(path: Path) -> dict[str, Any]:
    """The checkpoint at `path`, its tensors on the CPU. Raises `RequestError` for anything that is not one of ours."""
    import torch

    if path.is_dir():
        raise RequestError(f"{path} is a folder; name a checkpoint file, such as {path / 'checkpoints' / 'last.ckpt'}")
    if not path.is_file():
        raise RequestError(f"there is no checkpoint file {path}; name a .ckpt file of a run's checkpoints folder")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise RequestError(f"may not read the checkpoint {path}: {error.strerror}") from error
    except Exception as error:  # torch raises many kinds for a file that is torn, foreign or holds pickled code
        raise RequestError(f"{path} is not a readable checkpoint ({type(error).__name__}); take another") from error
    about = checkpoint.get("charrnn") if isinstance(checkpoint, dict) else None
    if not isinstance(about, dict) or "state_dict" not in checkpoint:
        raise RequestError(f"{path} is not a checkpoint of this project; it must hold 'charrnn' and 'state_dict'")
    if about.get("format") != FORMAT:
        raise RequestError(
            f"{path} has checkpoint format {about.get('format')!r}, this version reads {FORMAT}; update charrnn"
        )
    return checkpoint


def is_whole(path: Path) -> bool:
    """Whether `path` is an archive whose checksums hold (a torn or half-copied file is not). Loads nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
