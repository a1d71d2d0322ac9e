import bz2
import gzip
import hashlib
import io
import lzma
import os
import threading
import urllib.error
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest

from charrnn.data.sources import Source, absolute_paths, find_sources
from charrnn.utils.errors import RequestError
from charrnn.utils.files import cache_folder


def sources(path: Any, pattern: str = "*.txt", sha256: str | None = None) -> list[Source]:
    return find_sources(str(path) if isinstance(path, Path) else path, pattern, sha256)


def content(path: Any, **options: Any) -> list[bytes]:
    return [b"".join(source.chunks()) for source in sources(path, **options)]


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def network(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    """Let every request get the answer, or raise it; the addresses that were asked for."""
    asked = []

    def urlopen(address: str, timeout: float) -> Any:
        asked.append(address)
        if isinstance(answer, Exception):
            raise answer
        return answer(b"to be or not")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return asked


class Torn(io.BytesIO):
    headers: ClassVar = {"Content-Length": "1000"}


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
    with pytest.raises(RequestError, match=r"matches data.pattern=\*.py; it holds 3 \*.txt, 1 \*.md, 1 \*.xz"):
        sources(folder, pattern="*.py")
    (folder / "empty").mkdir()
    with pytest.raises(RequestError, match="holds no files at all"):
        sources(folder / "empty")


def test_patterns_and_lists(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert content(f"{folder}/**/*.txt") == [b"a.txt", b"b.txt", b"below/c.txt"]
    assert content([f"{folder}/b.txt", f"{folder}/*.txt"]) == [b"b.txt", b"a.txt"]  # as they are named, each once
    (folder / "x[1].txt").write_bytes(b"a name and no pattern")
    assert content(folder / "x[1].txt") == [b"a name and no pattern"]
    with pytest.raises(RequestError, match="no file matches .*nothing"):
        sources(f"{folder}/nothing*")
    monkeypatch.setenv("HOME", str(folder))
    assert content("~/a.txt") == [b"a.txt"]
    monkeypatch.chdir(folder)
    assert content("a.txt") == [b"a.txt"]
    assert absolute_paths(["a.txt", "-", "~/b.txt"]) == [f"{folder}/a.txt", "-", f"{folder}/b.txt"]


@pytest.mark.parametrize(("ending", "module"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_archives_are_unpacked_and_broken_ones_refused(tmp_path: Path, ending: str, module: Any) -> None:
    raw = os.urandom(1000)
    file = tmp_path / f"a.txt{ending}"
    packed = module.compress(raw)
    file.write_bytes(packed)
    assert content(file) == [raw]
    for broken in (packed[: len(packed) // 2], b"nothing of the kind", packed[:40] + b"broken" + packed[46:]):
        file.write_bytes(broken)
        with pytest.raises(RequestError, match=f"a.txt{ending} (is a broken or cut-off archive|can't be read)"):
            content(file)


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
        ("http://[bad", "can't be fetched"),
    ],
)
def test_what_is_no_text_is_refused(path: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        sources(path)


def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~draft.txt").write_bytes(b"a tilde")
    assert content("~draft.txt") == [b"a tilde"]
    Path(os.fsdecode(b"caf\xe9.GZ")).write_bytes(gzip.compress(b"a name that is no text"))
    (source,) = sources(os.fsdecode(b"caf\xe9.GZ"))
    assert source.name == "caf\ufffd.GZ"
    assert b"".join(source.chunks()) == b"a name that is no text"


def test_what_may_not_be_read_and_another_text_than_asked_for_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.txt"
    file.touch()
    denied = PermissionError(13, "Permission denied")  # root may read all files, so the mode would not do
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", mock.Mock(side_effect=denied))
        for sum_asked in (None, "0" * 64):
            with pytest.raises(RequestError, match="a.txt can't be read as a text: Permission denied"):
                content(file, sha256=sum_asked)
    file.write_bytes(b"abc")
    assert content(file, sha256=sha256(b"abc")) == [b"abc"]
    with pytest.raises(RequestError, match="another sha256"):
        sources(file, sha256=sha256(b"abd"))
    with pytest.raises(RequestError, match="sha256 goes with one file or address, got stdin"):
        sources("-", sha256=sha256(b"abd"))


def test_an_address_is_fetched_once_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = network(monkeypatch, io.BytesIO)
    address = "https://example.org/folder/play.txt"
    for _ in range(2):
        (source,) = sources(address, sha256=sha256(b"to be or not"))
        assert (b"".join(source.chunks()), source.name) == (b"to be or not", "play.txt")
    assert asked == [address]

    (cached,) = cache_folder().glob("*_play.txt")
    cached.write_bytes(b"to be")  # damaged: fetched again
    assert content(address, sha256=sha256(b"to be or not")) == [b"to be or not"]
    assert len(asked) == 2
    with pytest.raises(RequestError, match="sent another text than expected"):
        sources("https://example.org/other.txt", sha256=sha256(b"something else"))
    network(monkeypatch, Torn)
    with pytest.raises(RequestError, match="can't be fetched .*IncompleteRead"):
        sources("https://example.org/other.txt")
    assert not list(cache_folder().glob("*_other.txt"))


def test_without_a_network_the_error_says_how_to_do_it_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    network(monkeypatch, urllib.error.URLError("no route"))
    with pytest.raises(RequestError, match=r"can't be fetched \(no route\)") as error:
        sources("https://example.org/gone.txt", sha256=sha256(b"by hand"))
    place = Path(str(error.value).split("put it at ")[1].split(",")[0])
    place.write_bytes(b"by hand")  # what the message says must work
    assert content("https://example.org/gone.txt", sha256=sha256(b"by hand")) == [b"by hand"]
