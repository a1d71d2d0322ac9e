"""Measure a long text: encoding, memory, the startup of a run, and reading as a share of a training step."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.candidates import candidates, training_step
from benchmarks.record import interleaved, print_table, summary
from charrnn.data.batches import StreamBatches
from charrnn.data.python_docs import python_docs

ROOT = Path(__file__).resolve().parents[2]
SIZE = (64, 64, 256)
RUN = ("trainer.max_steps=2", "data.validation_fraction=1e-5", "data.test_fraction=0")
ENCODE = """
import sys, time
from charrnn.data.corpus import read_corpus
from charrnn.data.options import TextOptions
options = TextOptions(
    path=sys.argv[1], pattern="*", sha256=None, separator="", level=sys.argv[2], encoding="utf-8", errors="strict",
    newlines="keep", normalize="none", min_count=1, vocabulary_from="all",
)
start = time.perf_counter()
characters = len(read_corpus(options).ids)
print(characters, time.perf_counter() - start)
"""


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark, print its tables and return the results."""
    text_bytes = 200_000 if arguments.toy else arguments.megabytes * 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        long, short = folder / "long.txt", folder / "short.txt"
        for file, size in ((long, text_bytes), (short, min(text_bytes, 1_000_000))):
            _write_text(file, size)
        encoding = [_encode(folder, long, level) for level in ("char", "byte")]
        runs = [
            {"text": text.name, "cache": state, **_run(folder, text)}
            for text, state in ((short, "empty"), (short, "filled"), (long, "empty"), (long, "filled"))
            if not arguments.toy or (text, state) == (short, "empty")
        ]
    print_table(
        f"Encoding {text_bytes / 1e6:,.0f} MB of ASCII text on one core",
        ["data.level", "s", "MB/s"],
        [[row["level"], row["seconds"], row["mb_per_second"]] for row in encoding],
    )
    print_table(
        f"train.py {' '.join(RUN)}, the whole process",
        ["text", "cache", "s", "peak MB of memory"],
        [[row["text"], row["cache"], row["seconds"], row["peak_mb"]] for row in runs],
    )
    reading = _reading(arguments)
    print_table(
        "Reading a batch compared with a training step, B {}, T {}, H {}".format(*SIZE),
        ["reading, ms", "training step, ms", "share"],
        [[reading["reading_ms"], reading["step_ms"], f"{reading['share']:.1%}"]],
    )
    return {"bytes": text_bytes, "encoding": encoding, "runs": runs, "reading": reading}


def _write_text(file: Path, size: int) -> None:
    docs = python_docs()
    raw = docs.read_bytes() if isinstance(docs, Path) else docs
    with file.open("wb") as target:
        while size > 0:
            size -= target.write(raw[:size])


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}


def _encode(folder: Path, text: Path, level: str) -> dict[str, Any]:
    command = [sys.executable, "-c", ENCODE, str(text), level]
    done = subprocess.run(command, env=_environment(folder), capture_output=True, text=True, check=True)
    for cached in (folder / "cache").rglob("*.ids"):
        cached.unlink()
    characters, seconds = done.stdout.split()
    return {"level": level, "seconds": float(seconds), "mb_per_second": int(characters) / 1e6 / float(seconds)}


def _run(folder: Path, text: Path) -> dict[str, Any]:
    """Return the total time and peak memory of a run of two steps, started as a user starts it."""
    run = tempfile.mkdtemp(dir=folder)
    settings = [
        *RUN, "data=text", f"data.path={text}", f"hydra.run.dir={run}", "trainer.accelerator=cpu", "data.batch_size=8",
        "data.sequence_length=16",
    ]  # fmt: skip
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *settings], env=_environment(folder), stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    unit = 1e6 if sys.platform == "darwin" else 1e3  # ru_maxrss is in bytes on macOS, in KiB elsewhere
    return {"seconds": time.perf_counter() - start, "peak_mb": usage.ru_maxrss / unit}


def _reading(arguments: argparse.Namespace) -> dict[str, float]:
    lanes, steps, _ = SIZE
    ids = np.random.default_rng(0).integers(65, size=1_000_000, dtype=np.uint8)
    batches = StreamBatches(ids, lanes, steps)

    def endless() -> Iterator[Any]:
        while True:
            yield from batches

    stream = endless()
    step = training_step(candidates(SIZE, "cpu")["fused"])
    seconds = interleaved({"reading": lambda: next(stream), "step": step}, arguments.rounds)
    reading, whole = (summary(seconds[name])["median_ms"] for name in ("reading", "step"))
    return {"reading_ms": reading, "step_ms": whole, "share": reading / whole}
