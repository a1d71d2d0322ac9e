"""Build the embedded corpus from the documentation of the running Python, so that a first run needs no download.

It has `pydoc_data.topics` in key order, then the docstrings of the standard library in path order, without duplicates
and joined by blank lines. Only printable ASCII and newlines are kept: about 2 million characters, 96 distinct ones. The
text differs between Python versions.
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

# Folders without documentation of the library itself: tests, programs, and modules that newer Pythons dropped.
EXCLUDED_FOLDERS = {
    "site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "turtledemo", "lib2to3", "distutils",
    "ensurepip", "pydoc_data",
}  # fmt: skip
LIBRARY = Path(sysconfig.get_path("stdlib"))
# Two installations of a version may differ in what a Linux distribution left out.
INSTALLATION = f"{sys.version.split()[0].rstrip('+')}-{hashlib.sha256(bytes(LIBRARY)).hexdigest()[:8]}"
CONTROL = bytes(code for code in range(128) if chr(code) != "\n" and not chr(code).isprintable())


def python_docs() -> Path | bytes:
    """Return the cached file of the corpus, written on first use, or its bytes if the cache is not writable."""
    for file in cache_folder().glob(f"python_docs-{INSTALLATION}-*.txt"):
        if file == _cache_file(file.read_bytes()):
            return file
    raw = "\n\n".join(dict.fromkeys(_documentation())).encode("ascii")
    file = _cache_file(raw)
    try:
        write_text(file, raw.decode("ascii"))
    except OSError as error:
        log.warning("the text can't be cached in %s: %s", file.parent, error)
        return raw
    return file


def _cache_file(raw: bytes) -> Path:
    """Return the cache path, which includes the content's hash: a damaged file is detected and written again."""
    return cache_folder() / f"python_docs-{INSTALLATION}-{hashlib.sha256(raw).hexdigest()[:16]}.txt"


def _documentation() -> Iterator[str]:
    try:
        reference = importlib.import_module("pydoc_data.topics").topics
    except ImportError:  # some Linux distributions ship it in a separate package
        reference = {}
    for key in sorted(reference):
        yield _printable(reference[key])
    for file in sorted(LIBRARY.rglob("*.py")):
        if EXCLUDED_FOLDERS.isdisjoint(file.relative_to(LIBRARY).parts):
            yield from map(_printable, _docstrings(file))


def _docstrings(file: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes in installed modules
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return  # the library contains templates and broken examples
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring


def _printable(text: str) -> str:
    return text.expandtabs().encode("ascii", "ignore").translate(None, delete=CONTROL).decode("ascii").strip()
