"""Store ids in a file that is memory-mapped instead of read, with metadata at its end.

ids | metadata (JSON) | SHA-256 of both (32 bytes) | size of the ids in bytes (8 bytes, little-endian)

The file is written under a temporary name and renamed, so it is never incomplete; `open_ids` detects later damage.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from charrnn.data.vocabulary import Ids

TRAILER_BYTES = 32 + 8
# The checksum covers all ids of files up to this size, and samples of longer ones: starting must not read a gigabyte.
FULL_CHECK_BYTES = 1 << 26
SAMPLE_COUNT, SAMPLE_BYTES = 64, 1 << 16


def append_metadata(file: BinaryIO, metadata: dict[str, Any], dtype: np.dtype[Any]) -> tuple[Ids, dict[str, Any]]:
    """Finish a file of ids with `metadata` (plain values); return both as `open_ids` does."""
    size = file.tell()
    metadata = {**metadata, "dtype": dtype.str}
    raw = json.dumps(metadata).encode()
    digest = _digest(file, size, raw)
    file.seek(size)
    file.write(raw + digest + size.to_bytes(8, "little"))
    file.flush()
    return _mapped(file, size, metadata), metadata


def open_ids(path: Path) -> tuple[Ids, dict[str, Any]] | None:
    """Return the memory-mapped ids and the metadata, or None if the file is missing or damaged."""
    try:
        with path.open("rb") as file:
            end = file.seek(-TRAILER_BYTES, 2)
            digest, size = file.read(32), int.from_bytes(file.read(8), "little")
            if size > end:
                return None
            file.seek(size)
            raw = file.read(end - size)
            if _digest(file, size, raw) != digest:
                return None
            metadata: dict[str, Any] = json.loads(raw)
            return _mapped(file, size, metadata), metadata
    except OSError:
        return None


def _mapped(file: BinaryIO, size: int, metadata: dict[str, Any]) -> Ids:
    dtype = np.dtype(metadata["dtype"])
    if not size:  # an empty file cannot be mapped
        return np.empty(0, dtype)
    return np.asarray(np.memmap(file, dtype, "r", shape=(size // dtype.itemsize,)))


def _digest(file: BinaryIO, size: int, metadata: bytes) -> bytes:
    """Return the SHA-256 of the metadata and the first `size` bytes, or of evenly spaced samples of them."""
    digest = hashlib.sha256(metadata)
    sample_offsets = np.linspace(0, size - SAMPLE_BYTES, SAMPLE_COUNT, dtype=int).tolist()
    for offset in range(0, size, SAMPLE_BYTES) if size <= FULL_CHECK_BYTES else sample_offsets:
        file.seek(offset)
        digest.update(file.read(min(SAMPLE_BYTES, size - offset)))
    return digest.digest()
