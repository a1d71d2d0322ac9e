"""Load modules of compiled functions from numba's cache on disk, which is made when they are first needed."""

import hashlib
import importlib
import logging
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numba

from charrnn.network.compiled.register_tile import COLUMNS, MAX_ROWS
from charrnn.utils.files import cache_folder

log = logging.getLogger(__name__)

SHARED = tuple(f"charrnn.network.compiled.{name}" for name in ("intrinsics", "register_tile", "loops"))


def load(name: str, task: str) -> ModuleType:
    """Import the module `name`, whose functions are compiled on import or come from the cache.

    `task` is what they compute, for a log line. The functions of a module may call those of SHARED.
    """
    folder = _cache(name)
    try:
        return _load(name, task, folder)
    except Exception:  # a damaged file in the cache, of any kind
        if folder is None:
            raise
        shutil.rmtree(folder, ignore_errors=True)
        return _load(name, task, None)


def _cache(name: str) -> Path | None:
    """Return the folder of the compiled code, which depends on all that it is compiled from; None if not writable."""
    files = [Path(str(find_spec(each).origin)) for each in (*SHARED, name)]  # type: ignore[union-attr]  # they exist
    parts = [f"{numba.__version__} {COLUMNS} {MAX_ROWS}".encode(), *(file.read_bytes() for file in files)]
    folder = cache_folder() / f"numba-{hashlib.sha256(b''.join(parts)).hexdigest()[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    return folder


def _load(name: str, task: str, folder: Path | None) -> ModuleType:
    if folder is None or not any(folder.rglob("*.nbc")):
        log.info("compiling %s for this processor%s", task, "" if folder is None else ", once")
    config: Any = numba.config  # which does not declare its settings
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder or "")
    try:
        sys.modules.pop(name, None)
        return importlib.import_module(name)
    finally:
        config.CACHE_DIR = before
