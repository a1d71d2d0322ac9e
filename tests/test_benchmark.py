"""Run the benchmarks at toy sizes, to check that they work. Their results have no meaning here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, call


def measure(folder: Path, name: str, *arguments: str, rounds: int = 2) -> tuple[dict[str, Any], str]:
    """Return the record of a benchmark and what it prints."""
    file = folder / "record.json"
    done = call("scripts/benchmark.py", name, "--toy", "--rounds", rounds, "--json", file, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text()), done.stdout


def test_recurrence(tmp_path: Path) -> None:
    record, printed = measure(tmp_path, "recurrence", "--threads", "1")
    assert {"command", "date", "hardware", "versions", "matmul_peak_gflops", "growth"} <= set(record)
    seen = {(measured["mode"], measured["candidate"]) for measured in record["measurements"]}
    for mode in ("forward", "forward + backward", "training step"):
        assert {(mode, name) for name in ("reference", "fused", "one-hot loop", "nn.RNN")} <= seen
    assert all(measured["median_ms"] > 0 for measured in record["measurements"])
    assert "| forward + backward | fused |" in printed


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("lightning", ("train.py, characters/s", "train.py of the bare loop")),
        ("generate", ("characters_per_second",)),
        pytest.param("ddp", ("gain",), marks=pytest.mark.slow),
    ],
)
def test_whole_programs(tmp_path: Path, name: str, keys: tuple[str, ...]) -> None:
    measured = measure(tmp_path, name, "--threads", "1", rounds=2 - (name == "lightning"))[0]["measurements"]
    assert measured
    assert all(row[key] > 0 for row in measured for key in keys)


@pytest.mark.slow
def test_data(tmp_path: Path) -> None:
    record, _ = measure(tmp_path, "data", "--threads", "1")
    assert [row["level"] for row in record["encoding"]] == ["char", "byte"]
    (run,) = record["runs"]
    assert run["peak_mb"] > 0
    assert 0 < record["reading"]["share"] < 1


@pytest.mark.slow
def test_the_measurements_for_a_gpu_run_on_the_cpu_too(tmp_path: Path) -> None:
    record, _ = measure(tmp_path, "gpu", "--threads", "1", "--steps", "5")
    assert {row["ok"] for row in record["equality"]} == {True}
    assert record["checkpoints"]["weights equal, bit for bit"] is True
    assert record["checkpoints"]["bits on the CPU"] == pytest.approx(record["checkpoints"]["bits on the device"])
    assert [len(record[section]) > 0 for section in ("recurrence", "runs", "waiting")] == [True] * 3


SCRIPTS = sorted(
    f"scripts/{file.name}" for file in ROOT.glob("scripts/*.py") if file.name not in ("entry.py", "play.py")
)


@pytest.mark.parametrize("script", ["train.py", *SCRIPTS])
def test_without_the_package_every_script_says_so_in_one_line(script: str) -> None:
    bare = [sys.executable, "-E", "-S", str(ROOT / script)]  # without site-packages
    done = subprocess.run(bare, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is not installed; run scripts/train.sh" in done.stderr and "source .venv/bin/activate" in done.stderr
