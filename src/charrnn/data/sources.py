"""Find the byte streams behind `data.path`: files, folders, patterns, compressed files, URLs, standard input.

`python:docs` is the embedded corpus, `-` is standard input, and `http(s)://...` is downloaded once into the cache.
"""

import bz2
import glob
import gzip
import lzma
import os
import urllib.parse
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from charrnn.data.download import CHUNK_BYTES, download, sha256_of, unreadable
from charrnn.data.python_docs import python_docs
from charrnn.utils.errors import RequestError
from charrnn.utils.files import user_path
from charrnn.utils.streams import stdin_bytes

PYTHON_DOCS = "python:docs"
STDIN = "-"
URL_SCHEMES = ("http://", "https://", "file:")
DECOMPRESSORS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@dataclass(frozen=True)
class Source:
    """A stream of bytes: its name, a function that opens it, and its file (None if it can be read only once)."""

    name: str
    open: Callable[[], BinaryIO]
    file: Path | None = None

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in chunks, decompressed. Raises `RequestError` if they cannot be read."""
        try:
            with self.open() as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise RequestError(f"{self.name} is corrupt or incomplete ({error}); compress it again") from error
        except OSError as error:
            raise unreadable(self.name, error) from error

    def fingerprint(self) -> list[Any] | None:
        """Return the path, size and modification time, which show a change; None if it can be read only once."""
        if self.file is None:
            return None
        state = self.file.stat()
        return [str(self.file), state.st_size, state.st_mtime_ns]


def find_sources(path: object, pattern: str, sha256: str | None) -> list[Source]:
    """Return the streams of `path` (a location or a list of locations), each file once.

    Folders and patterns are read in sorted order. `pattern` selects the files of a folder. `sha256` is the expected
    checksum of a single file.
    """
    found: dict[object, Source] = {}
    for location in path if isinstance(path, list | tuple) and path else [path]:
        # An integer is valid: Hydra parses the file name 1984 as one.
        if isinstance(location, bool) or not isinstance(location, str | int) or location == "":
            raise RequestError(f"path must name a text, got {location!r}; use for example data.path=my_book.txt")
        for source in _sources_at(str(location), pattern, sha256):
            found.setdefault(source.file or source.name, source)
    sources = list(found.values())
    if sha256 is not None:
        _check_sha256(sources, sha256)
    return sources


def _sources_at(location: str, pattern: str, sha256: str | None) -> list[Source]:
    if location == PYTHON_DOCS:
        name, docs = "python_docs", python_docs()
        return [_of_file(docs, name) if isinstance(docs, Path) else Source(name, lambda: BytesIO(docs))]
    if location == STDIN:
        data = stdin_bytes()
        return [Source("stdin", lambda: data)]
    if location.startswith(URL_SCHEMES[:2]):
        return [_of_file(download(location, sha256), location.rsplit("/", 1)[-1])]
    if location.startswith("file:"):
        location = urllib.request.url2pathname(urllib.parse.urlparse(location).path)
    path = user_path(location)
    try:
        if path.is_dir():
            return [_of_file(file) for file in _files_in(path, pattern)]
        if path.is_file():
            return [_of_file(path)]
        if path.exists():  # a pipe, as in <(zcat text.gz)
            return [Source(str(path), lambda: path.open("rb"))]
        files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207  # Path.glob refuses absolute patterns
    except OSError as error:
        raise unreadable(path, error) from error
    if sources := [_of_file(file) for file in files if file.is_file()]:
        return sources
    if glob.has_magic(location):
        raise RequestError(f"no file matches {path.absolute()}; check the pattern")
    raise RequestError(f"there is no text file {path.absolute()}; check the path")


def absolute_paths(path: object) -> list[str]:
    """Return the locations of `path` with file paths made absolute."""
    special = (PYTHON_DOCS, STDIN)
    return [
        name if name in special or name.startswith(URL_SCHEMES) else str(user_path(name).absolute())
        for name in map(str, path if isinstance(path, list | tuple) else [path])
    ]


def _of_file(file: Path, name: str | None = None) -> Source:
    opener = DECOMPRESSORS.get(file.suffix.lower(), lambda path: path.open("rb"))
    name = name or os.fsencode(file.name).decode("utf-8", "replace")  # a file's name may be any bytes
    return Source(name, lambda: cast(BinaryIO, opener(file)), file.absolute())


def _files_in(folder: Path, pattern: str) -> list[Path]:
    """Return the files below `folder` that match `pattern`, with or without the suffix of a compressed file."""

    def refuse(error: OSError) -> NoReturn:  # os.walk silently skips folders that it cannot read
        raise error

    def matches(file: Path) -> bool:
        return file.match(pattern) or (file.suffix.lower() in DECOMPRESSORS and file.with_suffix("").match(pattern))

    walk = os.walk(folder, onerror=refuse)
    all_files = sorted(file for root, _, names in walk for file in map(Path(root).joinpath, names) if file.is_file())
    if files := list(filter(matches, all_files)):
        return files
    suffixes = Counter(file.suffix or file.name for file in all_files).most_common(3)
    found = ", ".join(f"{count} *{suffix}" for suffix, count in suffixes) or "no files"
    raise RequestError(f"no file in {folder} matches data.pattern={pattern}; the folder has {found}")


def _check_sha256(sources: list[Source], sha256: str) -> None:
    if len(sources) > 1 or sources[0].file is None:
        raise RequestError(f"sha256 needs exactly one file or URL, got {', '.join(s.name for s in sources)}")
    got = sha256_of(sources[0].file)
    if got != sha256.lower():
        raise RequestError(f"{sources[0].file} has the wrong sha256: expected {sha256}, got {got}; use another file")
