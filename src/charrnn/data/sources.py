"""What a user names -> streams of bytes: files, folders, patterns, archives, addresses, standard input.

`python:docs` is the embedded corpus, `-` standard input, `http(s)://...` a text that is fetched once into the cache.
"""

import bz2
import glob
import gzip
import hashlib
import http.client
import logging
import lzma
import os
import re
import shutil
import sys
import urllib.parse
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from charrnn.data.python_docs import python_docs
from charrnn.utils.errors import RequestError
from charrnn.utils.files import atomic_write, cache_folder, user_path

log = logging.getLogger(__name__)

PYTHON_DOCS = "python:docs"
STDIN = "-"
URL_SCHEMES = ("http://", "https://", "file:")
ARCHIVES: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
CHUNK = 1 << 22  # bytes read at once


@dataclass(frozen=True)
class Source:
    """A stream of bytes: its name, how it opens, and the file where it lies (None: it can be read once only)."""

    name: str
    open: Callable[[], BinaryIO]
    file: Path | None = None

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, piece by piece, unpacked. Raises `RequestError` if they can't be read."""
        try:
            with self.open() as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise RequestError(f"{self.name} is a broken or cut-off archive ({error}); pack it again") from error
        except OSError as error:
            raise _unreadable(self.name, error) from error

    def fingerprint(self) -> list[Any] | None:
        """What changes when the file changes: its place, size and time; None for what can be read once only."""
        if self.file is None:
            return None
        state = self.file.stat()
        return [str(self.file), state.st_size, state.st_mtime_ns]


def _unreadable(what: object, error: OSError) -> RequestError:
    return RequestError(f"{what} can't be read as a text: {error.strerror or error}; name another file")


def find_sources(path: object, pattern: str, sha256: str | None) -> list[Source]:
    """The streams that `path` (a place or a list of them) names, each file once, folders and patterns in sorted order.

    `pattern` picks files in folders, `sha256` is what the one file must have.
    """
    found: dict[object, Source] = {}
    for place in path if isinstance(path, list | tuple) and path else [path]:
        # A file may be named 1984.
        if isinstance(place, bool) or not isinstance(place, str | int) or place == "":
            raise RequestError(f"path must name a text, got {place!r}; write for example data.path=my_book.txt")
        for source in _sources_at(str(place), pattern, sha256):
            found.setdefault(source.file or source.name, source)
    sources = list(found.values())
    if sha256 is not None:
        _check_sum(sources, sha256)
    return sources


def _sources_at(place: str, pattern: str, sha256: str | None) -> list[Source]:
    if place == PYTHON_DOCS:
        name, docs = "python_docs", python_docs()
        return [_of_file(docs, name) if isinstance(docs, Path) else Source(name, lambda: BytesIO(docs))]
    if place == STDIN:
        if sys.stdin is None or sys.stdin.closed:
            raise RequestError("standard input is closed, or was read already; name a file")
        return [Source("stdin", lambda: cast(BinaryIO, sys.stdin.buffer))]
    if place.startswith(URL_SCHEMES[:2]):
        return [_of_file(_fetched(place, sha256), place.rsplit("/", 1)[-1])]
    if place.startswith("file:"):
        place = urllib.request.url2pathname(urllib.parse.urlparse(place).path)
    path = user_path(place)
    try:
        if path.is_dir():
            return [_of_file(file) for file in _files_in(path, pattern)]
        if path.is_file():
            return [_of_file(path)]
        if path.exists():  # a pipe, as in <(zcat text.gz): what it holds can be read once only
            return [Source(str(path), lambda: path.open("rb"))]
        files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207  # absolute ones too
    except OSError as error:
        raise _unreadable(path, error) from error
    if sources := [_of_file(file) for file in files if file.is_file()]:
        return sources
    if glob.has_magic(place):
        raise RequestError(f"no file matches {path.absolute()}; check the pattern")
    raise RequestError(f"there is no text file {path.absolute()}; check the path")


def absolute_paths(path: object) -> list[str]:
    """The places of `path` as they are found from any folder."""
    return [
        place if place in (PYTHON_DOCS, STDIN) or place.startswith(URL_SCHEMES) else str(user_path(place).absolute())
        for place in map(str, path if isinstance(path, list | tuple) else [path])
    ]


def _of_file(file: Path, name: str | None = None) -> Source:
    opener = ARCHIVES.get(file.suffix.lower(), lambda path: path.open("rb"))
    name = name or os.fsencode(file.name).decode("utf-8", "replace")  # a file's name may be any bytes
    return Source(name, lambda: cast(BinaryIO, opener(file)), file.absolute())


def _files_in(folder: Path, pattern: str) -> list[Path]:
    """The files below `folder` whose name matches, with or without the ending of an archive."""

    def refuse(error: OSError) -> NoReturn:  # a folder that can't be read would be left out without a word
        raise error

    def matches(file: Path) -> bool:
        return file.match(pattern) or (file.suffix.lower() in ARCHIVES and file.with_suffix("").match(pattern))

    walk = os.walk(folder, onerror=refuse)
    everything = sorted(file for root, _, names in walk for file in map(Path(root).joinpath, names) if file.is_file())
    if files := list(filter(matches, everything)):
        return files
    endings = Counter(file.suffix or file.name for file in everything).most_common(3)
    there = ", ".join(f"{count} *{ending}" for ending, count in endings) or "no files at all"
    raise RequestError(f"no file in {folder} matches data.pattern={pattern}; it holds {there}")


def _check_sum(sources: list[Source], sha256: str) -> None:
    if len(sources) > 1 or sources[0].file is None:
        raise RequestError(f"sha256 goes with one file or address, got {', '.join(s.name for s in sources)}")
    got = _sha256_of(sources[0].file)
    if got != sha256.lower():
        raise RequestError(f"{sources[0].file} has another sha256 than asked for: {sha256} wanted, {got} got")


def _fetched(address: str, sha256: str | None) -> Path:
    # The file's name in the cache tells texts of other addresses apart, and keeps the ending of an archive.
    ending = re.sub(r"[?#].*", "", address).rsplit("/", 1)[-1]
    file = cache_folder() / f"{hashlib.sha256(address.encode()).hexdigest()[:12]}_{ending}"
    if file.is_file():
        if sha256 is None or _sha256_of(file) == sha256.lower():
            return file
        log.warning("the cached text %s is damaged and is fetched again", file)
    log.info("fetching %s", address)
    by_hand = f"fetch it yourself and put it at {file}, or use it with data=text data.path=FILE"
    try:
        with urllib.request.urlopen(address, timeout=30) as response, atomic_write(file) as target:
            shutil.copyfileobj(response, target, CHUNK)
            announced = getattr(response, "headers", {}).get("Content-Length")
            if announced is not None and target.tell() != int(announced):
                raise http.client.IncompleteRead(b"", int(announced) - target.tell())
            target.seek(0)
            got = hashlib.file_digest(target, "sha256").hexdigest()
            if sha256 is not None and got != sha256.lower():
                raise ValueError(f"it sent another text than expected, sha256 {got}")
    except (OSError, http.client.HTTPException, ValueError) as error:  # unreachable, torn off, or no address at all
        reason = getattr(error, "reason", error)
        raise RequestError(f"{address} can't be fetched ({reason}); {by_hand}") from error
    return file


def _sha256_of(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from error
