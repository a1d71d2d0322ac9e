import hashlib
import io
import urllib.error
from pathlib import Path
from typing import Any, ClassVar

import pytest

from charrnn.data.download import download
from charrnn.data.sources import find_sources
from charrnn.utils.errors import RequestError
from charrnn.utils.files import cache_folder

TEXT = b"to be or not"
SHA256 = hashlib.sha256(TEXT).hexdigest()


def network(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    """Replace the network: every request returns `answer`, or raises it. Return the list of requested URLs."""
    requested = []

    def urlopen(url: str, timeout: float) -> Any:
        requested.append(url)
        if isinstance(answer, Exception):
            raise answer
        return answer(TEXT)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return requested


class Truncated(io.BytesIO):
    headers: ClassVar = {"Content-Length": "1000"}


def test_a_url_is_downloaded_once_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    requested = network(monkeypatch, io.BytesIO)
    url = "https://example.org/folder/play.txt"
    for _ in range(2):
        (source,) = find_sources(url, "*.txt", SHA256)
        assert (b"".join(source.chunks()), source.name) == (TEXT, "play.txt")
    assert requested == [url]

    (cached,) = cache_folder().glob("*_play.txt")
    cached.write_bytes(b"to be")  # damaged, so it is downloaded again
    assert download(url, SHA256).read_bytes() == TEXT
    assert len(requested) == 2
    with pytest.raises(RequestError, match=f"sent a different text: expected sha256 0+, got {SHA256}"):
        download("https://example.org/other.txt", "0" * 64)
    network(monkeypatch, Truncated)
    with pytest.raises(RequestError, match="cannot be downloaded .*IncompleteRead"):
        download("https://example.org/other.txt", None)
    assert not list(cache_folder().glob("*_other.txt"))


def test_without_a_network_the_error_says_how_to_add_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    network(monkeypatch, urllib.error.URLError("no route"))
    with pytest.raises(RequestError, match=r"cannot be downloaded \(no route\)") as error:
        download("https://example.org/gone.txt", SHA256)
    file = Path(str(error.value).split("save it as ")[1].split(",")[0])
    file.write_bytes(TEXT)  # the advice of the message must work
    assert download("https://example.org/gone.txt", SHA256) == file
