"""A file of ids: a long array on the disk, mapped and not read, with a note of what it is at its end.

ids | note (JSON) | SHA-256 of the note | length of the note, 8 bytes | MAGIC

It is written under a temporary name and renamed, so it is there whole or not at all; what is broken later is seen by
the checks of `open_ids`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from charrnn.vocabulary import Ids

MAGIC = b"charrnn1"
TAIL = 32 + 8 + len(MAGIC)
LONGEST_NOTE = 1 << 26
# Up to here all ids are checked; of longer files samples, since a start must not read a gigabyte.
CHECKED_WHOLE = 1 << 26
SAMPLES, SAMPLE = 64, 1 << 16


def append_note(file: BinaryIO, note: dict[str, Any], dtype: np.dtype[Any]) -> tuple[Ids, dict[str, Any]]:
    """Close the ids that were written into `file` with `note`, plain values; return both as `open_ids` does."""
    size = file.tell()
    note = {**note, "dtype": dtype.str, "bytes_of_ids": size, "digest": _digest(file, size)}
    raw = json.dumps(note).encode()
    file.seek(size)
    file.write(raw + hashlib.sha256(raw).digest() + len(raw).to_bytes(8, "little") + MAGIC)
    file.flush()
    return _mapped(file, note), note


def open_ids(path: Path) -> tuple[Ids, dict[str, Any]] | None:
    """The ids, mapped from the disk, and the note; None if there is no such file or it is broken."""
    try:
        with path.open("rb") as file:
            note = _read_note(file)
            if note is None or _digest(file, note["bytes_of_ids"]) != note["digest"]:
                return None
            return _mapped(file, note), note
    except OSError:
        return None


def _mapped(file: BinaryIO, note: dict[str, Any]) -> Ids:
    dtype = np.dtype(note["dtype"])
    count = note["bytes_of_ids"] // dtype.itemsize
    if not count:  # an empty file can't be mapped
        return np.empty(0, dtype)
    return np.asarray(np.memmap(file, dtype, "r", shape=(count,)))


def _read_note(file: BinaryIO) -> dict[str, Any] | None:
    end = file.seek(0, 2) - TAIL  # of the note
    file.seek(max(0, end))
    tail = file.read()
    length = int.from_bytes(tail[32:40], "little")
    if not tail.endswith(MAGIC) or not length <= min(LONGEST_NOTE, end):
        return None
    file.seek(end - length)
    raw = file.read(length)
    if hashlib.sha256(raw).digest() != tail[:32]:
        return None
    note: dict[str, Any] = json.loads(raw)
    return note if note["bytes_of_ids"] == end - length else None


def _digest(file: BinaryIO, size: int) -> str:
    """SHA-256 of the first `size` bytes, or of samples spread evenly over them."""
    digest = hashlib.sha256()
    spread = np.linspace(0, size - SAMPLE, SAMPLES, dtype=int).tolist()
    for place in range(0, size, SAMPLE) if size <= CHECKED_WHOLE else spread:
        file.seek(place)
        digest.update(file.read(min(SAMPLE, size - place)))
    return digest.hexdigest()
