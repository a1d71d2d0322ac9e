"""Find the byte streams behind `data.path`: files, folders, patterns, URLs, standard input.

`python:docs` is the embedded corpus, `-` is standard input, and `http(s)://...` is downloaded once into the cache.
"""

import glob
import os
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from gzip import BadGzipFile
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NoReturn, TypeVar

from charrnn.data.download import CHUNK_BYTES, download, sha256_of, unreadable
from charrnn.data.errors import TextError
from charrnn.data.formats import COMPRESSIONS, DAMAGED, decompressed
from charrnn.data.python_docs import python_docs
from charrnn.utils.errors import RequestError
from charrnn.utils.files import user_path
from charrnn.utils.streams import stdin_bytes

PYTHON_DOCS = "python:docs"
STDIN = "-"
URL_SCHEMES = ("http://", "https://", "file:")
MAC_FOLDER = "__MACOSX"  # macOS adds it to zip archives, with a `._` file for every file

Pattern = str | Sequence[str]
AnyPath = TypeVar("AnyPath", bound=PurePath)


@dataclass(frozen=True)
class Source:
    """A stream of bytes: its name, a function that opens it, and its file (None if it can be read only once)."""

    name: str
    open: Callable[[], BinaryIO]
    file: Path | None = None

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in chunks, decompressed if need be. Raises `RequestError` if they cannot be read."""
        try:
            with self.open() as raw, decompressed(raw) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    yield chunk
        except (BadGzipFile, *DAMAGED) as error:
            raise RequestError(f"{self.name} is corrupt or incomplete ({error}); compress it again") from error
        except OSError as error:
            raise unreadable(self.name, error) from error

    def fingerprint(self) -> list[Any] | None:
        """Return the path, size and modification time, which show a change; None if it can be read only once."""
        if self.file is None:
            return None
        state = self.file.stat()
        return [str(self.file), state.st_size, state.st_mtime_ns]


def find_sources(path: object, pattern: Pattern, sha256: str | None, setting: str = "path") -> list[Source]:
    """Return the streams of `path` (a location or a list of locations), each file once.

    A list keeps its order. The files of a folder or a glob are read in dictionary order, so `chapter10` comes before
    `chapter2`: it is the same on every machine, and the texts of earlier runs stay what they were. `pattern` (one or
    several) selects the files of a folder. `sha256` is the expected checksum of a single file. Errors name `setting`.
    """
    found: dict[object, Source] = {}
    for location in path if isinstance(path, list | tuple) and path else [path]:
        # An integer is valid: Hydra parses the file name 1984 as one.
        if isinstance(location, bool) or not isinstance(location, str | int) or location == "":
            problem, example = f"{setting} must name a text, got {location!r}", "my_book.txt"
            raise TextError(problem, f"use for example data.{setting}={example}", f"use for example --text {example}")
        for source in _sources_at(str(location), pattern, sha256):
            found.setdefault(source.file or source.name, source)
    sources = list(found.values())
    if sha256 is not None:
        _check_sha256(sources, sha256)
    return sources


def _sources_at(location: str, pattern: Pattern, sha256: str | None) -> list[Source]:
    if location == PYTHON_DOCS:
        name, docs = "python_docs", python_docs()
        return [_of_file(docs, name) if isinstance(docs, Path) else Source(name, lambda: BytesIO(docs))]
    if location == STDIN:
        data = stdin_bytes()
        return [Source("stdin", lambda: data)]
    if location.startswith(URL_SCHEMES[:2]):
        return [_of_file(download(location, sha256), location.rsplit("/", 1)[-1])]
    if location.startswith("file:"):
        url = urllib.parse.urlparse(location)
        if url.netloc not in ("", "localhost"):
            raise RequestError(f"{location} names a file on another computer; write file:///PATH, or the path")
        location = urllib.request.url2pathname(url.path)
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
    return Source(name or printable_name(Path(file.name)), lambda: file.open("rb"), file.absolute())


def printable_name(path: PurePath) -> str:
    """Return a path as text that can be written as UTF-8; a file's name may be any bytes."""
    return os.fsencode(path).decode("utf-8", "replace")


def _files_in(folder: Path, pattern: Pattern) -> list[Path]:
    """Return the files below `folder`, also behind links, that match `pattern`, without hidden ones."""

    def refuse(error: OSError) -> NoReturn:  # os.walk silently skips folders that it cannot read
        raise error

    files = []
    seen: set[Path] = set()  # a link may lead back
    for root, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if (real := Path(root).resolve()) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        files += [Path(root, name) for name in names if not is_hidden(name)]
    return select([file for file in sorted(files) if file.is_file()], pattern, folder)


def is_hidden(name: str) -> bool:
    """Return whether the name of a file or folder begins with a dot, such as `.git`, or is macOS's own."""
    return name == MAC_FOLDER or (name.startswith(".") and name != "..")


def matches(file: PurePath | str, pattern: Pattern) -> bool:
    """Return whether a file matches a pattern, with or without the suffix of a compressed file."""
    file = PurePath(file)
    bare = file.with_suffix("") if file.suffix.lower() in COMPRESSIONS else file
    return any(file.match(one) or bare.match(one) for one in ([pattern] if isinstance(pattern, str) else pattern))


def select(files: Sequence[AnyPath], pattern: Pattern, where: object) -> list[AnyPath]:
    """Return the files that match a pattern; raise `TextError` if none does."""
    if chosen := [file for file in files if matches(file, pattern)]:
        return chosen
    suffixes = Counter(file.suffix or file.name for file in files).most_common(3)
    found = ", ".join(f"{count} *{suffix}" for suffix, count in suffixes) or "no files (dot names don't count)"
    typed = pattern if isinstance(pattern, str) else f"[{','.join(pattern)}]"
    raise TextError(
        f"no file in {where} matches data.pattern={typed}",
        f"the folder has {found}",
        f"the folder has {found}; name a file",
        f"no file in {where} matches {typed}, the pattern of the training text",
    )


def _check_sha256(sources: list[Source], sha256: str) -> None:
    if len(sources) > 1 or sources[0].file is None:
        raise RequestError(f"data.sha256 needs exactly one file or URL, got {', '.join(s.name for s in sources)}")
    got = sha256_of(sources[0].file)
    if got != sha256.lower():
        raise RequestError(f"{sources[0].file} has the wrong sha256: expected {sha256}, got {got}; use another file")
