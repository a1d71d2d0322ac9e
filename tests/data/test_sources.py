import bz2
import gzip
import hashlib
import io
import lzma
import os
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from charrnn.data.sources import Source, absolute_paths, find_sources
from charrnn.utils.errors import RequestError


def sources(path: Any, pattern: str = "*.txt", sha256: str | None = None) -> list[Source]:
    return find_sources(str(path) if isinstance(path, Path) else path, pattern, sha256)


def content(path: Any, **options: Any) -> list[bytes]:
    return [b"".join(source.chunks()) for source in sources(path, **options)]


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.txt", "below/c.txt", "below/d.md", "e.txt.xz"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        raw = name.encode()
        file.write_bytes(lzma.compress(raw) if name.endswith("xz") else raw)
    return tmp_path


def test_a_folder_is_read_in_sorted_order(folder: Path) -> None:
    assert content(folder) == [b"a.txt", b"b.txt", b"below/c.txt", b"e.txt.xz"]
    assert content(folder, pattern="*.md") == [b"below/d.md"]
    with pytest.raises(RequestError, match=r"matches data.pattern=\*.py; the folder has 3 \*.txt, 1 \*.md, 1 \*.xz"):
        sources(folder, pattern="*.py")
    (folder / "empty").mkdir()
    with pytest.raises(RequestError, match="the folder has no files"):
        sources(folder / "empty")


def test_patterns_and_lists(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert content(f"{folder}/**/*.txt") == [b"a.txt", b"b.txt", b"below/c.txt"]
    assert content([f"{folder}/b.txt", f"{folder}/*.txt"]) == [b"b.txt", b"a.txt"]  # in the given order, each once
    (folder / "x[1].txt").write_bytes(b"a name, not a pattern")
    assert content(folder / "x[1].txt") == [b"a name, not a pattern"]
    with pytest.raises(RequestError, match="no file matches .*nothing"):
        sources(f"{folder}/nothing*")
    monkeypatch.setenv("HOME", str(folder))
    assert content("~/a.txt") == [b"a.txt"]
    monkeypatch.chdir(folder)
    assert content("a.txt") == [b"a.txt"]
    assert absolute_paths(["a.txt", "-", "~/b.txt"]) == [f"{folder}/a.txt", "-", f"{folder}/b.txt"]


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_compressed_files_are_read_and_damaged_ones_refused(tmp_path: Path, suffix: str, module: Any) -> None:
    raw = os.urandom(1000)
    file = tmp_path / f"a.txt{suffix}"
    compressed = module.compress(raw)
    file.write_bytes(compressed)
    assert content(file) == [raw]
    for damaged in (
        compressed[: len(compressed) // 2],
        compressed[:40] + b"broken" + compressed[46:],
    ):
        file.write_bytes(damaged)
        with pytest.raises(RequestError, match=f"a.txt{suffix} (is corrupt or incomplete|can't be read)"):
            content(file)
    file.write_bytes(b"not compressed")
    assert content(file) == [b"not compressed"]


def test_standard_input_and_pipes_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"piped")))
    assert content("-") == [b"piped"]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"through a pipe",))
    writer.start()
    (source,) = sources(pipe)
    assert source.fingerprint() is None
    assert b"".join(source.chunks()) == b"through a pipe"
    writer.join()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "path must name a text"),
        ([], "path must name a text"),
        ([True], "path must name a text, got True"),
        (1984, "there is no text file .*1984"),
        ("x" * 300, "File name too long"),
        ("http://[bad", "cannot be downloaded"),
    ],
)
def test_invalid_paths_are_refused(path: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        sources(path)


def test_unusual_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~draft.txt").write_bytes(b"a tilde")
    assert content("~draft.txt") == [b"a tilde"]
    Path(os.fsdecode(b"caf\xe9.GZ")).write_bytes(gzip.compress(b"a name that is not UTF-8"))
    (source,) = sources(os.fsdecode(b"caf\xe9.GZ"))
    assert source.name == "caf\ufffd.GZ"
    assert b"".join(source.chunks()) == b"a name that is not UTF-8"


def test_unreadable_files_and_wrong_checksums_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.touch()
    denied = PermissionError(13, "Permission denied")  # a file mode would not stop root
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", mock.Mock(side_effect=denied))
        for expected in (None, "0" * 64):
            with pytest.raises(RequestError, match="a.txt can't be read as a text: Permission denied"):
                content(file, sha256=expected)
    file.write_bytes(b"abc")
    assert content(file, sha256=sha256(b"abc")) == [b"abc"]
    with pytest.raises(RequestError, match="a.txt has the wrong sha256: expected"):
        sources(file, sha256=sha256(b"abd"))
    with pytest.raises(RequestError, match="sha256 needs exactly one file or URL, got stdin"):
        sources("-", sha256=sha256(b"abd"))


def test_a_file_url_names_no_other_computer(tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_bytes(b"x")
    assert content(f"file://{tmp_path}/a%20b.txt") == content(f"file://localhost{tmp_path}/a%20b.txt") == [b"x"]
    with pytest.raises(RequestError, match="file://book.txt names a file on another computer; write file:///PATH"):
        sources("file://book.txt")


def test_linked_folders_are_read_once(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "f.txt").write_bytes(b"f")
    (elsewhere / "back").symlink_to(folder, target_is_directory=True)
    (folder / "linked").symlink_to(elsewhere, target_is_directory=True)
    assert content(folder) == [b"a.txt", b"b.txt", b"below/c.txt", b"e.txt.xz", b"f"]
