"""One checkpoint file: written atomically, read without running anything that is in it. No Lightning here.

A checkpoint is Lightning's dictionary (`state_dict` and the rest) with one more entry, `charrnn`: the format's
version, the network's settings, the vocabulary and where the text came from, all plain values.
"""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.utils.errors import RequestError
from charrnn.utils.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 2


def write(checkpoint: dict[str, Any], path: Path, keep: Path | None = None) -> None:
    """Save `checkpoint`: the file is there whole or not at all. What was there before stays under the name `keep`."""
    import torch  # only here: finding and naming runs needs no torch, and it takes a second

    with atomic_write(path, keep) as file:
        torch.save(checkpoint, file)


def read(path: Path) -> dict[str, Any]:
    """The checkpoint at `path`, its tensors on the CPU. Raises `RequestError` for anything that is not one of ours."""
    import torch

    if not path.is_file():
        what = f"{path} is a folder" if path.is_dir() else f"there is no checkpoint file {path}"
        raise RequestError(f"{what}; name a checkpoint file: a .ckpt file of a run's checkpoints folder")
    try:
        _check_archive(path)
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise RequestError(f"may not read the checkpoint {path}: {error.strerror}") from error
    except Exception as error:  # torch raises many kinds for a file that is torn, foreign or holds pickled code
        raise RequestError(f"{path} is not a readable checkpoint ({type(error).__name__}); take another") from error
    about = checkpoint.get("charrnn") if isinstance(checkpoint, dict) else None
    if not isinstance(about, dict) or "state_dict" not in checkpoint:
        raise RequestError(f"{path} is not a checkpoint of this project; it must hold 'charrnn' and 'state_dict'")
    version = about.get("format")
    if version != FORMAT:
        newer = isinstance(version, int) and version > FORMAT
        advice = "update charrnn" if newer else "take a checkpoint of this version"
        raise RequestError(f"{path} has checkpoint format {version!r}, this version reads {FORMAT}; {advice}")
    return checkpoint


def network_weights(checkpoint: dict[str, Any]) -> "dict[str, Tensor]":
    """The network's part of a checkpoint's `state_dict`, under the network's own names."""
    weights: dict[str, Tensor] = checkpoint["state_dict"]
    return {name.removeprefix("network."): tensor for name, tensor in weights.items() if name.startswith("network.")}


def is_whole(path: Path) -> bool:
    """Whether `path` is an archive whose checksums hold (a torn or half-copied file is not). Loads nothing."""
    try:
        _check_archive(path)
    except (OSError, zipfile.BadZipFile):
        return False
    return True


def _check_archive(path: Path) -> None:
    """`zipfile.BadZipFile` for what torch did not write so: torn, changed, or packed to unfold into more than it is."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise zipfile.BadZipFile("its parts are compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise zipfile.BadZipFile("its parts overlap")
        if broken := archive.testzip():
            raise zipfile.BadZipFile(f"{broken} is damaged")
