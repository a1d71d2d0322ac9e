"""The benchmarks run, at toy sizes, so that they cannot rot; what they measure here says nothing."""

import json
from pathlib import Path

from conftest import command


def test_recurrence(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    done = command("scripts/benchmark.py", "recurrence", "--toy", "--rounds", "2", "--threads", "1", "--json", file)
    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text())
    assert {"command", "date", "hardware", "versions", "matmul_peak_gflops", "growth"} <= set(record)
    seen = {(measured["mode"], measured["candidate"]) for measured in record["measurements"]}
    for mode in ("forward", "forward + backward", "training step"):
        assert {(mode, name) for name in ("reference", "fused", "one-hot loop", "nn.RNN")} <= seen
    assert all(measured["median_ms"] > 0 for measured in record["measurements"])
    assert "| forward + backward | fused |" in done.stdout


def test_lightning(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    done = command("scripts/benchmark.py", "lightning", "--toy", "--rounds", "1", "--threads", "1", "--json", file)
    assert done.returncode == 0, done.stderr
    (measured,) = json.loads(file.read_text())["measurements"]
    assert measured["train.py, characters/s"] > 0
    assert measured["train.py of the bare loop"] > 0


def test_generate(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    done = command("scripts/benchmark.py", "generate", "--toy", "--rounds", "2", "--threads", "1", "--json", file)
    assert done.returncode == 0, done.stderr
    measured = json.loads(file.read_text())["measurements"]
    assert {(row["samples"], row["candidate"]) for row in measured} >= {(1, "nn.RNN, our draw"), (64, "NumPy (ours)")}
    assert all(row["characters_per_second"] > 0 for row in measured)


def test_ddp(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    done = command("scripts/benchmark.py", "ddp", "--toy", "--rounds", "2", "--json", file)
    assert done.returncode == 0, done.stderr
    (measured,) = json.loads(file.read_text())["measurements"]
    assert all(seconds > 0 for seconds in measured["seconds"].values())
    assert measured["gain"] > 0


def test_data(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    done = command("scripts/benchmark.py", "data", "--toy", "--rounds", "2", "--threads", "1", "--json", file)
    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text())
    assert [row["level"] for row in record["encoding"]] == ["char", "byte"]
    (run,) = record["runs"]
    assert run["peak_mb"] > 0
    assert 0 < record["reading"]["share"] < 1


def test_wrong_requests(tmp_path: Path) -> None:
    done = command("scripts/benchmark.py", "recurrence", "--grid", "64,64")
    assert done.returncode == 2
    assert done.stderr == "benchmark.py: --grid takes sizes like 64,64,256, got 64,64\n"
