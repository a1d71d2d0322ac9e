import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_records import make_run

from charrnn.runs.comparison import (
    by_text,
    common_folder,
    differing,
    group_rows,
    groups,
    run_rows,
    setting_text,
    uncommon,
)
from charrnn.runs.records import Record
from conftest import call, command

DEFAULTS = {"model.cell": "elman", "model.hidden": 8, "model.dropout": 0.0, "optimizer.lr": 0.003, "seed": 1}


def record(name: str, bits: float | None = None, *, summary: Any = None, **settings: Any) -> Record:
    changed = {**DEFAULTS, **{key.replace("_", ".", 1): value for key, value in settings.items()}}
    return Record(Path("/runs") / name, changed, {"status": "finished", "val_bits_per_char": bits, **(summary or {})})


def test_differing_compares_values_and_not_their_notation() -> None:
    same = record("b", model_dropout=0, seed=2, sweep_resume=True)
    runs = [record("a"), same, record("c", optimizer_lr=1e-3)]
    assert differing(runs) == ["optimizer.lr"]
    assert differing(runs[:2]) == []
    assert differing([*runs, Record(Path("/runs/broken"), {}, {})]) == ["optimizer.lr"]
    assert differing([]) == []


def test_a_missing_key_counts_if_nothing_else_differs() -> None:
    activation = {"model_activation": "tanh", "model_init": "auto"}  # a gated layer has neither
    gru = record("gru", model_cell="gru")
    assert differing([record("elman", **activation), gru]) == ["model.cell"]
    assert differing([record("new", **activation), record("old")]) == ["model.activation"]
    seeds = [record("new", seed=1, **activation), record("old", seed=2)]
    assert len(groups(seeds, differing(seeds))) == 2  # another version is not another seed
    unreadable = [Record(Path(f"/runs/{name}"), {}, {"status": "finished"}) for name in "ab"]
    assert len(groups(unreadable, [])) == 2  # each is a group of its own


def test_seeds_are_grouped_to_mean_and_deviation() -> None:
    bits = {"a": [2.5, 2.0, 2.75], "b": [2.25], "c": [2.4, 2.5]}
    lr = {"a": 1e-3, "b": 2e-3, "c": 3e-3}
    runs = [
        record(f"{name}/{n}", value, optimizer_lr=lr[name], seed=n, summary={"parameters": 100, "best_step": n})
        for name, values in bits.items()
        for n, value in enumerate(values)
    ]
    rows = group_rows(runs, ["optimizer.lr"], Path("/runs"))
    found = [
        (row["run"], row["n"], row["seeds"]) for row in rows
    ]  # sorted by the mean; the run is the best of its group
    assert found == [("b/0", 1, "0"), ("a/1", 3, "0 1 2"), ("c/0", 2, "0 1")]
    for row, name in zip(rows, "bac", strict=True):
        assert row["val_bits_per_char"] == pytest.approx(np.mean(bits[name]))
        if len(bits[name]) > 1:
            assert row["val_bits_per_char_deviation"] == pytest.approx(np.std(bits[name], ddof=1))
    assert rows[0]["val_bits_per_char_deviation"] is rows[0]["test_bits_per_char"] is None
    assert (rows[1]["parameters"], rows[1]["best_step"]) == (100, 1)


def test_rows_are_sorted_best_first_and_without_a_result_last() -> None:
    runs = [
        record("dry", summary={"reason": "dry_run=true: nothing was trained"}),
        record("failed", 1.0, summary={"status": "failed", "reason": "out of luck"}),
        record("no validation split", summary={"train_seconds": 90.0}),
        record("worse", 2.5),
        record("equal", 2.5),
        record("best", 2.25),
        Record(Path("/runs/missing"), {}, {"status": "missing"}),
        Record(Path("/runs/older"), {}, {"val_bits_per_char": 2.0}),
    ]
    rows = run_rows(runs, [], Path("/runs"))
    assert [row["run"] for row in rows[:4]] == ["best", "equal", "worse", "no validation split"]
    assert {row["run"] for row in rows[4:]} == {"dry", "missing", "older", "failed"}
    assert rows[3]["minutes"] == 1.5
    assert [row.get("n") for row in group_rows(runs, [], Path("/runs"))] == [4, None, None, None, None]


def test_equal_names_in_different_folders() -> None:
    runs = [record("a/run", 2.0), record("b/run", 3.0)]
    assert [row["run"] for row in run_rows(runs, [], common_folder(runs))] == ["a/run", "b/run"]
    assert common_folder(runs[:1]) == Path("/runs/a")


def test_uncommon_settings() -> None:
    settings = [{"lr": 1}, {"lr": 1}, {"lr": 1.0}, {"lr": 2}, {}]
    assert uncommon({"lr": 1, "x": None}, ["lr", "x"], settings) == ["x"]
    assert uncommon({"lr": 2}, ["lr", "x"], settings) == ["lr"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0, "0"), (1e-3, "0.001"), (None, "null"), (True, "true"), ([0.9, 1], "[0.9, 1]"), ("a b", "a b"),
     ("", '""'), (" ", '" "'), ("\n\n", r'"\n\n"'), ("\udce9", r'"\udce9"'), (float("inf"), "Infinity")],
)  # fmt: skip
def test_settings_are_shown_on_one_line(value: Any, text: str) -> None:
    assert setting_text(value) == text
    text.encode()


def test_runs_on_other_texts_or_splits_are_other_tables() -> None:
    def on(name: str, sha: str | None, **settings: Any) -> Record:
        return record(name, 2.0 if sha else None, summary={"corpus_sha256": sha}, **settings)

    runs = [
        on("a", "1" * 64, data_path="x/a.txt", data_validation_fraction=0.1),
        on("moved", "1" * 64, data_path="/y/a.txt", data_validation_fraction=0.1),
        on("split", "1" * 64, data_path="x/a.txt", data_validation_fraction=0.2),
        on("changed", "2" * 64, data_path="a.txt", data_validation_fraction=0.1),
        on("list", "3" * 64, data_path=["a.txt", "b.txt"], data_validation_fraction=0.1),
        on("failed", None, data_path="x/a.txt", data_validation_fraction=0.2),
        Record(Path("/runs/torn"), {}, {"status": "missing"}),
    ]
    found = {text: [run.folder.name for run in group] for text, group in by_text(runs).items()}
    assert found == {
        "a.txt, validation 0.1": ["a", "moved", "torn"],
        "a.txt, validation 0.2": ["split", "failed"],
        "a.txt, validation 0.1, SHA-256 22222222": ["changed"],
        '["a.txt", "b.txt"], validation 0.1': ["list"],
    }
    assert differing(runs[:4]) == []
    assert by_text([]) == {}


def test_the_script_shows_a_table_per_text(tmp_path: Path) -> None:
    for name, bits in (("one", 2.2), ("other", 2.1)):
        config = f"data: {{path: {name}.txt, validation_fraction: 0.1}}\nmodel: {{hidden: 8}}\nseed: 1\n"
        summary = {"status": "finished", "val_bits_per_char": bits, "corpus_sha256": name}
        make_run(tmp_path / name, config, json.dumps(summary))
    done = call("scripts/compare.py", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    ranks = [line.split() for line in done.stdout.splitlines() if line.startswith("1 ")]
    assert ranks == [["1", "2.2000", "one"], ["1", "2.1000", "other"]]
    assert "mean" not in done.stdout  # of single runs
    assert call("scripts/compare.py", tmp_path / "one").stdout.startswith(f"1 run in {tmp_path}, best first")
    assert "one.txt, validation 0.1:\n" in done.stdout and "other.txt, validation 0.1:\n" in done.stdout
    table = list(csv.DictReader(io.StringIO(call("scripts/compare.py", tmp_path, "--format", "csv").stdout)))
    assert [row["data.path"] for row in table] == ["one.txt", "other.txt"]
    assert "other.txt, validation 0.1:\n\n| run" in call("scripts/compare.py", tmp_path, "--format", "markdown").stdout


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    results = {(8, 1): 2.1, (8, 2): 2.2, (16, 1): 2.0, (32, 1): None}
    for (hidden, seed), bits in results.items():
        ended = {"val_bits_per_char": bits} if bits else {"status": "failed", "reason": "it broke"}
        config = f"model: {{hidden: {hidden}, cell: elman}}\nseed: {seed}\n"
        make_run(tmp_path / f"{hidden}-{seed}", config, json.dumps({"status": "finished", "seed": seed, **ended}))
    return tmp_path


def test_the_script_shows_groups_and_writes_csv_json_and_markdown(sweep: Path, tmp_path: Path) -> None:
    done = command("scripts/compare.py", sweep, COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"4 runs in {sweep}, best first, in bits per character"
    assert lines[1].startswith("mean ")
    assert lines[6].split() == ["2", "2.1500", "±", "0.0707", "2", "8", "8-1"]
    assert lines[-1] == "  32-1 (hidden=32): failed, it broke"
    done = call("scripts/compare.py", sweep, "--format", "json")
    assert [row.get("n") for row in json.loads(done.stdout)] == [1, 2, None]
    done = call("scripts/compare.py", sweep, "--format", "csv", "--no-groups", "--out", tmp_path / "t.csv")
    assert (done.returncode, done.stdout) == (0, "")
    table = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert all(row["run"] == f"{row['model.hidden']}-{row['seed']}" for row in table)
    assert [row["run"] for row in table] == ["16-1", "8-1", "8-2", "32-1"]
    done = call("scripts/compare.py", sweep, "--format", "markdown")
    assert "| 8-1 | 8 | 2 | 1 2 | finished | 2.1500 ± 0.0707 |" in done.stdout
