import hashlib
import urllib.error
from pathlib import Path
from typing import Any, NoReturn

import pytest

from charrnn import corpus
from charrnn.corpus import PYTHON_DOCS, read_corpus
from charrnn.errors import RequestError
from charrnn.files import cache_folder


def sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def test_the_embedded_corpus(docs: str) -> None:
    assert 1_500_000 < len(docs) < 2_500_000
    assert set(docs) == {"\n", *map(chr, range(32, 127))}
    assert "\n\n" in docs
    assert docs.count("docstring") > 10


def test_the_embedded_corpus_is_cached_and_a_damaged_cache_is_made_again(
    docs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = cache_folder().glob("python_docs-*")
    with monkeypatch.context() as patch:
        patch.setattr(corpus, "_documentation", lambda: pytest.fail("the cache was not used"))
        assert read_corpus(PYTHON_DOCS).text == docs
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    assert read_corpus(PYTHON_DOCS).text == docs
    assert file.read_bytes() == whole


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    text = "one\r\ntwo\n\x00three é 😀"
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())  # a byte-order mark is not part of the text
    read = read_corpus(str(file))
    assert (read.text, read.name, read.path) == (text, "a.txt", str(file))
    assert read.sha256 == sha256(text.encode())


def test_home_and_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.txt").write_text("home")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_corpus("~/b.txt").text == "home"
    monkeypatch.chdir(tmp_path)
    assert read_corpus("b.txt").path == str(tmp_path / "b.txt")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere.txt", "there is no text file .*nowhere.txt"),
        (".", "can't be read as a text: Is a directory"),
        ("", "path must name a text"),
        (None, "path must name a text, got None"),
        (1984, "there is no text file .*1984"),
        ("http://localhost:abc/x", "can't be fetched"),
    ],
)
def test_what_is_no_file_is_refused(path: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_corpus(path)


def test_bytes_that_are_not_utf8_are_shown_with_their_place(tmp_path: Path) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes("first line\ncaf\xe9 au lait".encode("latin-1"))
    with pytest.raises(RequestError, match=r"bytes e9 at offset 14 \(line 2\)"):
        read_corpus(str(file))


def test_a_utf_16_file_is_told_how_to_convert(tmp_path: Path) -> None:
    file = tmp_path / "wide.txt"
    file.write_bytes("wide".encode("utf-16"))
    with pytest.raises(RequestError, match="iconv -f UTF-16 -t UTF-8 .*wide.txt"):
        read_corpus(str(file))


def test_another_text_than_asked_for_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"abc")
    assert read_corpus(str(file), sha256(b"abc")).text == "abc"
    with pytest.raises(RequestError, match="another sha256"):
        read_corpus(str(file), sha256(b"abd"))


class Response:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def __enter__(self) -> "Response":
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def read(self) -> bytes:
        return self._raw


def test_an_address_is_fetched_once_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def urlopen(address: str, timeout: float) -> Response:
        asked.append(address)
        return Response(b"to be or not")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    address = "https://example.org/folder/play.txt"
    for _ in range(2):
        read = read_corpus(address, sha256(b"to be or not"))
        assert (read.text, read.name) == ("to be or not", "play.txt")
    assert asked == [address]

    (cached,) = cache_folder().glob("*_play.txt")
    cached.write_bytes(b"to be")  # damaged: fetched again
    assert read_corpus(address, sha256(b"to be or not")).text == "to be or not"
    assert len(asked) == 2
    with pytest.raises(RequestError, match="sent another text than expected"):
        read_corpus("https://example.org/other.txt", sha256(b"something else"))


def test_without_a_network_the_error_says_how_to_do_it_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    def urlopen(address: str, timeout: float) -> NoReturn:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    with pytest.raises(RequestError, match=r"can't be fetched \(no route\)") as error:
        read_corpus("https://example.org/gone.txt", sha256(b"by hand"))
    place = Path(str(error.value).split("put it at ")[1].split(",")[0])
    place.write_bytes(b"by hand")  # what the message says must work
    assert read_corpus("https://example.org/gone.txt", sha256(b"by hand")).text == "by hand"
