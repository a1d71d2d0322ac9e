import resource
from pathlib import Path

import pytest

from charrnn.utils.files import append, atomic_write, cache_folder, write_text


def test_a_failed_write_leaves_only_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "a.txt"
    write_text(file, "old\r\n")
    with pytest.raises(ZeroDivisionError), atomic_write(file) as target:
        target.write(b"half")
        raise ZeroDivisionError
    assert file.read_bytes() == b"old\r\n"
    assert list(file.parent.iterdir()) == [file]
    write_text(file, "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o600 == 0o600


def test_what_can_not_be_appended_whole_is_not_appended_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    append(file, b"one\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))  # as a disk with room for 6 more bytes
    try:
        with pytest.raises(OSError):
            append(file, b"two and three\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == b"one\n"
    append(file, b"two\n")
    assert file.read_bytes() == b"one\ntwo\n"


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "charrnn"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "charrnn"
