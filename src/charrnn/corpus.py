"""A place named by the user -> a text.

`python:docs` is the embedded corpus, `http(s)://...` a text that is fetched once into the cache, all else a file.
"""

import ast
import hashlib
import http.client
import importlib
import logging
import shlex
import sys
import sysconfig
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import RequestError
from charrnn.files import atomic_write, cache_folder

log = logging.getLogger(__name__)

PYTHON_DOCS = "python:docs"
# Folders of the standard library that hold no documentation of it: tests, programs, and what newer Pythons dropped.
NOT_DOCUMENTATION = {
    "site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "turtledemo", "lib2to3", "distutils",
    "ensurepip", "pydoc_data",
}  # fmt: skip
CONTROL = bytes(code for code in range(128) if chr(code) != "\n" and not chr(code).isprintable())


@dataclass(frozen=True)
class Corpus:
    """A text and where it came from: `path` opens again from any folder; `sha256` is that of the text in UTF-8."""

    path: str
    name: str
    text: str
    sha256: str


def read_corpus(path: str, sha256: str | None = None) -> Corpus:
    """The text at `path`, its bytes checked against `sha256` if given. Raises `RequestError` if it can't be had."""
    if isinstance(path, bool) or not isinstance(path, str | int) or path == "":
        raise RequestError(f"path must name a text, got {path!r}; write for example data.path=my_book.txt")
    path = str(path)  # a file may be named 1984
    if path == PYTHON_DOCS:
        name, raw = "python_docs", _python_docs()
    elif path.startswith(("http://", "https://")):
        name, raw = path.rsplit("/", 1)[-1], _fetched(path, sha256)
    else:
        file = Path(path).expanduser()
        name, path, raw = file.name, str(file.absolute()), _file_bytes(file)
    if sha256 is not None and hashlib.sha256(raw).hexdigest() != sha256:
        raise RequestError(f"{path} has another sha256 than asked for: {sha256} wanted, {_sha256(raw)} got")
    text = _decode(raw, path)
    return Corpus(path=path, name=name, text=text, sha256=_sha256(text.encode("utf-8")))


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _file_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise RequestError(f"there is no text file {file.absolute()}; check the path") from None
    except OSError as error:
        raise RequestError(f"{file} can't be read as a text: {error.strerror}; name another file") from error


def _decode(raw: bytes, path: str) -> str:
    try:
        return raw.decode("utf-8-sig")  # a byte-order mark is not part of the text; line ends stay as they are
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        encoding = "UTF-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "WINDOWS-1252"
        offending = raw[error.start : error.end].hex(" ")
        raise RequestError(
            f"{path} is not UTF-8: bytes {offending} at offset {error.start} (line {line}); convert it, "
            f"for example: iconv -f {encoding} -t UTF-8 {shlex.quote(path)} > utf8.txt"
        ) from error


def _fetched(address: str, sha256: str | None) -> bytes:
    # The file's name in the cache tells texts of other addresses and other versions apart.
    file = cache_folder() / f"{_sha256(address.encode())[:12]}_{address.rsplit('/', 1)[-1]}"
    if file.is_file():
        cached = file.read_bytes()
        if sha256 is None or _sha256(cached) == sha256:
            return cached
        log.warning("the cached text %s is damaged and is fetched again", file)
    log.info("fetching %s", address)
    by_hand = f"fetch it yourself and put it at {file}, or use it with data=text data.path=FILE"
    try:
        with urllib.request.urlopen(address, timeout=30) as response:
            raw: bytes = response.read()
    except (OSError, http.client.HTTPException, ValueError) as error:  # unreachable, torn off, or no address at all
        reason = getattr(error, "reason", error)
        raise RequestError(f"{address} can't be fetched ({reason}); {by_hand}") from error
    if sha256 is not None and _sha256(raw) != sha256:
        raise RequestError(f"{address} sent another text than expected (sha256 {_sha256(raw)}); {by_hand}")
    _store(file, raw)
    return raw


def _store(file: Path, raw: bytes) -> None:
    try:
        with atomic_write(file) as target:
            target.write(raw)
    except OSError as error:
        log.warning("the text can't be cached in %s: %s", file.parent, error)


def _python_docs() -> bytes:
    # The name holds the hash of the content, so a damaged file is seen and one write makes the cache whole.
    version = sys.version.split()[0].rstrip("+")
    for file in cache_folder().glob(f"python_docs-{version}-*.txt"):
        raw = file.read_bytes()
        if file.stem.rsplit("-", 1)[-1] == _sha256(raw)[:16]:
            return raw
    raw = "\n\n".join(dict.fromkeys(_documentation())).encode("ascii")
    _store(cache_folder() / f"python_docs-{version}-{_sha256(raw)[:16]}.txt", raw)
    return raw


def _documentation() -> Iterator[str]:
    """The language reference in key order, then the docstrings of the standard library in sorted path order."""
    try:
        reference = importlib.import_module("pydoc_data.topics").topics
    except ImportError:  # some Linux distributions pack it apart
        reference = {}
    for key in sorted(reference):
        yield _printable(reference[key])
    library = Path(sysconfig.get_path("stdlib"))
    for file in sorted(library.rglob("*.py")):
        if NOT_DOCUMENTATION.isdisjoint(file.relative_to(library).parts):
            yield from map(_printable, _docstrings(file))


def _docstrings(file: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody's source are not the user's concern
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # templates and broken examples lie among the modules
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring


def _printable(text: str) -> str:
    """Printable ASCII and newline, the rest dropped, no blank edges."""
    return text.expandtabs().encode("ascii", "ignore").translate(None, delete=CONTROL).decode("ascii").strip()
