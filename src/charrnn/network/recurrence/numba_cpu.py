"""The compiled kernel for CPUs in float32: each thread takes its lanes through all time steps, without a barrier.

The weights are packed once per call, [ceil(H / COLUMNS), K, COLUMNS], so that a tile reads them in order. The last
columns and lanes overlap the ones before if H or the number of lanes is no multiple of the tile: they are computed
twice, with the same result. Threads are those of torch's own OpenMP pool, which are awake already.
B lane, T time step, H hidden unit.
"""

import ctypes
import hashlib
import importlib
import logging
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn

from charrnn.network.recurrence import bptt
from charrnn.network.recurrence.register_tile import COLUMNS, EPILOGUES
from charrnn.utils.files import cache_folder

log = logging.getLogger(__name__)

MIN_LANES_PER_THREAD = 4  # fewer would use the slow tile of one row
LOOPS = "charrnn.network.recurrence.numba_loops"


def elman_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    """Return states[t] = phi(inputs[t] + states[t-1] @ weight.T), [T, B, H], like `reference.elman_scan`."""
    hidden = weight_HH.shape[0]
    if hidden < COLUMNS:  # units that are and stay 0
        more = (0, COLUMNS - hidden)
        padded = (nn.functional.pad(inputs_TBH, more), nn.functional.pad(state_BH, more))
        return elman_scan(*padded, nn.functional.pad(weight_HH, more * 2), activation)[..., :hidden]
    return bptt.scan(_forward, _backward, inputs_TBH, state_BH, weight_HH, activation)


def _forward(states_TBH: Tensor, inputs_TBH: Tensor, weight_HH: Tensor, activation: str) -> None:
    inputs_TBH = inputs_TBH.contiguous()
    _run(activation, inputs_TBH.shape, states_TBH, inputs_TBH, _packed(weight_HH.t()), states_TBH)


def _backward(
    errors_TBH: Tensor, gradients_TBH: Tensor, states_TBH: Tensor, weight_HH: Tensor, activation: str
) -> None:
    gradients_TBH = gradients_TBH.contiguous()
    _run(f"{activation}_backward", errors_TBH.shape, errors_TBH, gradients_TBH, _packed(weight_HH), states_TBH)


def _packed(weight_KH: Tensor) -> Tensor:
    """Return the columns that each tile reads, [ceil(H / COLUMNS), K, COLUMNS]; the last ones may overlap."""
    depth, hidden = weight_KH.shape
    if hidden % COLUMNS:
        starts = torch.arange(0, hidden, COLUMNS).clamp_(max=hidden - COLUMNS)
        weight_KH = weight_KH[:, (starts[:, None] + torch.arange(COLUMNS)).flatten()]
    return weight_KH.reshape(depth, -1, COLUMNS).transpose(0, 1).contiguous()


def _run(name: str, shape: torch.Size, out: Tensor, init: Tensor, packed: Tensor, states: Tensor) -> None:
    """Call the compiled loop `name` on as many threads as there is work for."""
    _, lanes, _ = shape
    parallel, rank, size = _openmp()
    addresses = (tensor.data_ptr() for tensor in (out, init, packed, states))
    parameters = np.array([EPILOGUES.index(name), *shape, *addresses, rank, size], np.int64)
    threads = max(1, min(torch.get_num_threads(), lanes // MIN_LANES_PER_THREAD))
    parallel(_loop(), parameters.ctypes.data, threads, 0)


@cache
def _openmp() -> tuple[Callable[..., None], int, int]:
    """Return how to run a function on several threads, and the addresses of the functions that tell rank and size.

    Raises `OSError` or `AttributeError` if torch has no OpenMP library with GNU's interface (others have it too).
    """
    library = ctypes.CDLL(_openmp_file())
    parallel = library.GOMP_parallel
    parallel.argtypes, parallel.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint], None
    rank, size = (
        ctypes.cast(function, ctypes.c_void_p).value or 0
        for function in (library.omp_get_thread_num, library.omp_get_num_threads)
    )
    return parallel, rank, size


def _openmp_file() -> str:
    """Return the OpenMP library that torch has loaded."""
    maps = Path("/proc/self/maps")
    mapped = re.findall(r"(/.*/lib[gi]?omp\d?[-.].*)$", maps.read_text(), re.MULTILINE) if maps.exists() else []
    own = [
        str(file)
        for file in (Path(torch.__file__).parent / "lib").glob("lib*omp*")
        if re.match("lib[gi]?omp", file.name)
    ]
    # torch's own first: other libraries may have loaded another one.
    found = [file for file in mapped if file in own] or own or mapped
    if not found:
        raise OSError("torch has no OpenMP library here")
    return found[0]


@cache
def problem() -> str | None:
    """Return why the loop can't be compiled here, or None; compiles it, or loads it from the cache."""
    try:
        _openmp()
        _loop()
    except Exception as error:  # numba and LLVM raise many types
        return f"it can't be compiled here ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    return None


@cache
def _loop() -> int:
    """Return the address of the compiled loop, from the cache on disk if possible."""
    folder = _cache()
    try:
        return _load(folder)
    except Exception:  # a damaged file in the cache, of any kind
        if folder is None:
            raise
        shutil.rmtree(folder, ignore_errors=True)
        return _load(None)


def _cache() -> Path | None:
    """Return the folder of the compiled code, which depends on all that it is compiled from; None if not writable."""
    parts = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("register_tile", "numba_loops")]
    parts.append(numba.__version__.encode())
    folder = cache_folder() / f"numba-{hashlib.sha256(b''.join(parts)).hexdigest()[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return None
    return folder


def _load(folder: Path | None) -> int:
    if folder is None or not any(folder.rglob("*.nbc")):
        log.info("compiling the recurrence for this processor%s", "" if folder is None else ", once")
    config: Any = numba.config  # which does not declare its settings
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder or "")
    try:
        sys.modules.pop(LOOPS, None)
        return int(importlib.import_module(LOOPS).loop.address)
    finally:
        config.CACHE_DIR = before
