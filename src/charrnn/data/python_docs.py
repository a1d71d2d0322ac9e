"""The embedded corpus: the documentation that comes with the running Python, so that a first run needs no download.

`pydoc_data.topics` in key order, then the docstrings of the standard library in sorted path order, equal texts dropped,
joined by a blank line, printable ASCII and newline kept: about 2 million characters of 96 kinds. It differs between
versions of Python.
"""

import ast
import hashlib
import importlib
import logging
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from charrnn.utils.files import cache_folder, write_text

log = logging.getLogger(__name__)

# Folders of the standard library that hold no documentation of it: tests, programs, and what newer Pythons dropped.
NOT_DOCUMENTATION = {
    "site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "turtledemo", "lib2to3", "distutils",
    "ensurepip", "pydoc_data",
}  # fmt: skip
VERSION = sys.version.split()[0].rstrip("+")
CONTROL = bytes(code for code in range(128) if chr(code) != "\n" and not chr(code).isprintable())


def python_docs() -> Path | bytes:
    """The file in the cache that holds the corpus, written on first use; its bytes if nothing can be kept there."""
    for file in cache_folder().glob(f"python_docs-{VERSION}-*.txt"):
        if file == _file_of(file.read_bytes()):
            return file
    raw = "\n\n".join(dict.fromkeys(_documentation())).encode("ascii")
    file = _file_of(raw)
    try:
        write_text(file, raw.decode("ascii"))
    except OSError as error:
        log.warning("the text can't be cached in %s: %s", file.parent, error)
        return raw
    return file


def _file_of(raw: bytes) -> Path:
    """The place in the cache, named by the content, so that a damaged file is seen and one write mends the cache."""
    return cache_folder() / f"python_docs-{VERSION}-{hashlib.sha256(raw).hexdigest()[:16]}.txt"


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
    return text.expandtabs().encode("ascii", "ignore").translate(None, delete=CONTROL).decode("ascii").strip()
