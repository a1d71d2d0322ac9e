"""Run a compiled loop on several threads of torch's own OpenMP pool, which are awake already."""

import ctypes
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch


def run(loop: int, parameters: list[int], threads: int) -> None:
    """Call the loop at this address in `threads` threads at once, at most those of torch; each takes its share."""
    parallel, rank, size = openmp()
    array = np.array([*parameters, rank, size], np.int64)
    parallel(loop, array.ctypes.data, max(1, min(torch.get_num_threads(), threads)), 0)


@cache
def openmp() -> tuple[Callable[..., None], int, int]:
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
