"""Time candidates on a noisy machine, and record the results with hardware and versions."""

import datetime
import gc
import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch

from charrnn.network.compiled.register_tile import vector_width
from charrnn.utils.errors import RequestError
from charrnn.utils.files import user_path, write_text


def interleaved(
    candidates: dict[str, Callable[[], object]], rounds: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Return the seconds of each call; every round times all candidates, so that a slow moment affects all of them."""

    def finish() -> None:
        if device == "cuda":
            torch.cuda.synchronize()
        elif device == "mps":
            torch.mps.synchronize()

    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():  # the first calls allocate memory and compile
        call()
        call()
    finish()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in candidates.items():
                start = time.perf_counter()
                call()
                finish()
                seconds[name].append(time.perf_counter() - start)
    finally:
        gc.enable()
    return seconds


def summary(seconds: list[float]) -> dict[str, float]:
    """Return the median and the spread (half the interquartile range) in milliseconds."""
    quartiles = statistics.quantiles(seconds, n=4) if len(seconds) > 1 else [seconds[0]] * 3
    return {"median_ms": statistics.median(seconds) * 1e3, "spread_ms": (quartiles[2] - quartiles[0]) / 2 * 1e3}


def print_table(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    """Print a Markdown table."""
    print(f"\n{title}\n")
    lines: list[list[Any]] = [list(columns), ["---"] * len(columns), *rows]
    for line in lines:
        print("| " + " | ".join(f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in line) + " |")


def print_records(title: str, records: list[dict[str, Any]]) -> None:
    """Print records as a Markdown table, with a column for each of their keys."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    print_table(title, columns, [[record.get(column, "") for column in columns] for record in records])
    sys.stdout.flush()


def write_record(file: str, results: dict[str, Any]) -> None:
    """Write the results with command, hardware, versions and date as JSON."""
    record = {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "hardware": {
            "processor": processor(),
            "vector_width": vector_width(),
            "blas": "MKL" if torch.backends.mkl.is_available() else "other",
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "lightning": lightning.__version__,
            "system": platform.system(),
        },
        **results,
    }
    try:
        write_text(user_path(file), json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise RequestError(f"{file} can't be written: {error.strerror}; use another --json FILE") from error


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
