from pathlib import Path

import numpy as np
import pytest

from charrnn.data import memmap
from charrnn.data.memmap import append_metadata, open_ids
from charrnn.utils.files import atomic_write


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("count", [0, 1, 100_001])
def test_ids_and_metadata_are_read_back(tmp_path: Path, dtype: type, count: int) -> None:
    ids = (np.arange(count) % 200).astype(dtype)
    with atomic_write(tmp_path / "a.ids") as file:
        file.write(ids.tobytes())
        written, metadata = append_metadata(file, {"name": "é"}, np.dtype(dtype))
    opened = open_ids(tmp_path / "a.ids")
    assert opened is not None
    for found in (written, opened[0]):
        assert np.array_equal(found, ids)
        assert found.dtype == dtype
        assert count == 0 or isinstance(found.base, np.memmap)
    assert opened[1] == metadata
    assert metadata["name"] == "é"


@pytest.mark.parametrize("full_check_bytes", [1 << 26, 0])
def test_truncation_and_changes_are_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_check_bytes: int
) -> None:
    monkeypatch.setattr(memmap, "FULL_CHECK_BYTES", full_check_bytes)
    monkeypatch.setattr(memmap, "SAMPLE_BYTES", 1 << 10)
    path = tmp_path / "a.ids"
    with atomic_write(path) as file:
        file.write(bytes(range(200)) * 100)
        append_metadata(file, {}, np.dtype(np.uint8))
    whole = path.read_bytes()
    assert open_ids(path) is not None
    for size in range(0, len(whole), len(whole) // 10):
        path.write_bytes(whole[:size])
        assert open_ids(path) is None
    for offset in (0, len(whole) // 2, 19_999, 20_003, len(whole) - 50, len(whole) - 10, len(whole) - 1):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        assert open_ids(path) is None
    assert open_ids(tmp_path / "missing") is None
