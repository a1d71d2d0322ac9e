"""Write a checkpoint file atomically, and read it without executing anything in it. No Lightning here.

A checkpoint is Lightning's dictionary (`state_dict` and more) with an additional entry `charrnn`: the version of the
format, the network's settings, the vocabulary and the source of the text, all as plain values.
"""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.utils.errors import RequestError
from charrnn.utils.files import atomic_write

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 2


def write(checkpoint: dict[str, Any], path: Path, keep: Path | None = None) -> None:
    """Save `checkpoint` completely or not at all; an older file is kept under the name `keep` if one is given."""
    import torch  # imported here because finding runs needs no torch, which takes a second to load

    content = BytesIO()  # torch's writer hides the reason if the disk is full
    torch.save(checkpoint, content)
    with atomic_write(path, keep) as file:
        file.write(content.getbuffer())


def read(path: Path) -> dict[str, Any]:
    """Return the checkpoint at `path`, its tensors on the CPU; raise `RequestError` for any other kind of file."""
    import torch

    if not path.is_file():
        what = f"{path} is a folder" if path.is_dir() else f"there is no checkpoint file {path}"
        raise RequestError(f"{what}; choose a .ckpt file of a run's checkpoints folder")
    try:
        _check_archive(path)
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise RequestError(f"no permission to read the checkpoint {path}: {error.strerror}") from error
    except Exception as error:  # torch raises many types for a damaged or foreign file, or one with pickled code
        raise RequestError(f"{path} is not a readable checkpoint ({type(error).__name__}); use another") from error
    about = checkpoint.get("charrnn") if isinstance(checkpoint, dict) else None
    if not isinstance(about, dict) or "state_dict" not in checkpoint:
        raise RequestError(f"{path} is not a checkpoint of this project; it must hold 'charrnn' and 'state_dict'")
    version = about.get("format")
    if version != FORMAT:
        newer = isinstance(version, int) and version > FORMAT
        advice = "update charrnn" if newer else "use a checkpoint of this version"
        raise RequestError(f"{path} has checkpoint format {version!r}, this version reads {FORMAT}; {advice}")
    return checkpoint


def network_weights(checkpoint: dict[str, Any]) -> "dict[str, Tensor]":
    """Return the network's weights from a checkpoint's `state_dict`, under the network's own names."""
    weights: dict[str, Tensor] = checkpoint["state_dict"]
    return {name.removeprefix("network."): tensor for name, tensor in weights.items() if name.startswith("network.")}


def is_whole(path: Path) -> bool:
    """Return whether `path` is an archive with correct checksums, without loading it."""
    try:
        _check_archive(path)
    except (OSError, zipfile.BadZipFile):
        return False
    return True


def _check_archive(path: Path) -> None:
    """Raise `zipfile.BadZipFile` for a file that is damaged, changed, or expands to more than its size."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise zipfile.BadZipFile("its members are compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise zipfile.BadZipFile("its members overlap")
        if broken := archive.testzip():
            raise zipfile.BadZipFile(f"{broken} is damaged")
