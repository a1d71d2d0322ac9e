"""A file of ids: a long array on the disk, mapped and not read, with a note of what it is at its end.

ids | note (JSON) | SHA-256 of both | bytes of the ids, in 8 bytes

It is written under a temporary name and renamed, so it is there whole or not at all; `open_ids` sees later damage.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from charrnn.data.vocabulary import Ids

TAIL = 32 + 8
# Up to here all ids are checked; of longer files samples, since a start must not read a gigabyte.
CHECKED_WHOLE = 1 << 26
SAMPLES, SAMPLE = 64, 1 << 16


def append_note(file: BinaryIO, note: dict[str, Any], dtype: np.dtype[Any]) -> tuple[Ids, dict[str, Any]]:
    """Close the ids that were written into `file` with `note`, plain values; return both as `open_ids` does."""
    size = file.tell()
    note = {**note, "dtype": dtype.str}
    raw = json.dumps(note).encode()
    digest = _digest(file, size, raw)
    file.seek(size)
    file.write(raw + digest + size.to_bytes(8, "little"))
    file.flush()
    return _mapped(file, size, note), note


def open_ids(path: Path) -> tuple[Ids, dict[str, Any]] | None:
    """The ids, mapped from the disk, and the note; None if there is no such file or it is broken."""
    try:
        with path.open("rb") as file:
            end = file.seek(-TAIL, 2)
            digest, size = file.read(32), int.from_bytes(file.read(8), "little")
            if size > end:
                return None
            file.seek(size)
            raw = file.read(end - size)
            if _digest(file, size, raw) != digest:
                return None
            note: dict[str, Any] = json.loads(raw)
            return _mapped(file, size, note), note
    except OSError:
        return None


def _mapped(file: BinaryIO, size: int, note: dict[str, Any]) -> Ids:
    dtype = np.dtype(note["dtype"])
    if not size:  # nothing can't be mapped
        return np.empty(0, dtype)
    return np.asarray(np.memmap(file, dtype, "r", shape=(size // dtype.itemsize,)))


def _digest(file: BinaryIO, size: int, note: bytes) -> bytes:
    """SHA-256 of the note and of the first `size` bytes, or of samples spread evenly over them."""
    digest = hashlib.sha256(note)
    spread = np.linspace(0, size - SAMPLE, SAMPLES, dtype=int).tolist()
    for place in range(0, size, SAMPLE) if size <= CHECKED_WHOLE else spread:
        file.seek(place)
        digest.update(file.read(min(SAMPLE, size - place)))
    return digest.digest()
