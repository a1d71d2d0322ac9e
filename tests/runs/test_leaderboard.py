import csv
import re
from pathlib import Path
from typing import Any

import pytest
from test_records import FINISHED

from charrnn.runs.folder import write_summary
from charrnn.runs.leaderboard import GROUPED, as_text, short_names, write_leaderboard
from charrnn.utils.files import write_text


def make_job(sweep: Path, hidden: int, summary: dict[str, Any] | None, seed: int = 1) -> None:
    folder = sweep / f"model.hidden-{hidden}_seed-{seed}"
    write_text(folder / ".hydra" / "overrides.yaml", f"- model.hidden={hidden}\n- seed={seed}\n- trainer.max_steps=5\n")
    if summary:
        write_summary(folder, summary)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    make_job(tmp_path, 64, {**FINISHED, "train_chars_per_second": 12345})
    early = "stopped by max_minutes (TimeLimit) after step 9"  # has a result as well
    make_job(tmp_path, 128, {"status": "finished", "val_bits_per_char": 2.25, "reason": early})
    make_job(tmp_path, 256, {"status": "failed", "reason": "out of | luck"})
    make_job(tmp_path, 512, None)
    return tmp_path


def test_it_lists_all_jobs_best_first(sweep: Path) -> None:
    rows, screen = write_leaderboard(sweep, 80)
    assert [row["model.hidden"] for row in rows] == ["128", "64", "256", "512"]
    assert [row["status"] for row in rows] == ["finished", "finished", "failed", "missing"]
    with (sweep / "leaderboard.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["val_bits_per_char"] for row in table] == ["2.25", "2.5", "", ""]
    assert [row["trainer.max_steps"] for row in table] == ["5"] * 4
    assert table[1]["minutes"] == "1.5"
    assert table[2]["reason"] == "out of | luck"
    *lines, empty, same = (sweep / "leaderboard.md").read_text().splitlines()
    assert (empty, same) == ("", "The same in every job: seed=1, trainer.max_steps=5")
    assert len(lines) == 2 + 4
    assert lines[0].startswith("| run | model.hidden | status | val_bits_per_char | ")
    assert "2.2500" in lines[2]
    assert screen.splitlines() == [
        "#  validation  hidden  chars/s  minutes  run",
        "1      2.2500     128        -        -  model.hidden-128_seed-1",
        "2      2.5000      64   12,345     1.50  model.hidden-64_seed-1",
        "",
        "runs without a result (settings shared by most runs are omitted):",
        "  model.hidden-256_seed-1 (hidden=256): failed, out of | luck",
        "  model.hidden-512_seed-1 (hidden=512): missing, it left no summary.json",
    ]


def test_swept_seeds_give_a_second_table(sweep: Path) -> None:
    make_job(sweep, 64, {"status": "finished", "val_bits_per_char": 2.0}, seed=2)
    make_job(sweep, 128, {"status": "interrupted"}, seed=2)
    rows, screen = write_leaderboard(sweep, 120)
    assert [(row["model.hidden"], row["seed"]) for row in rows[:3]] == [("64", "2"), ("128", "1"), ("64", "1")]
    jobs, means = (sweep / "leaderboard.md").read_text().split(GROUPED)
    assert len(jobs.splitlines()) == 2 + 6 + 1
    assert re.findall(r"(\d+) \| (\d) \| [12 ]+ \| finished \| (.*?) \|", means) == [
        ("128", "1", "2.2500"), ("64", "2", "2.2500 ± 0.3536"),
    ]  # fmt: skip
    assert screen.count("#") == 2
    assert re.search(r"2\.2500 ± 0\.3536  2 +64 ", screen)


def test_a_sweep_without_results(tmp_path: Path) -> None:
    assert write_leaderboard(tmp_path, 80) == ([], "")
    make_job(tmp_path, 8, {"status": "failed", "reason": None})
    assert write_leaderboard(tmp_path, 80)[1].splitlines()[-1] == "  model.hidden-8_seed-1: failed"


def test_short_names_are_unique_suffixes() -> None:
    keys = ["model.hidden", "optimizer.lr", "scheduler.lr", "seed", "data.seed", "optimizer._target_"]
    short = ["hidden", "optimizer.lr", "scheduler.lr", "seed", "data.seed", "optimizer"]
    assert list(short_names(keys).values()) == short
    assert len(set(short_names(["optimizer", "optimizer._target_", "x.optimizer"]).values())) == 3


def test_class_names_are_short_and_settings_that_only_broken_runs_have_are_no_column() -> None:
    keys = ["model.hidden", "optimizer._target_"]
    runs = [("a", "finished", 8, "torch.optim.SGD"), ("b", "finished", 8, "mine.Own"), ("c", "failed", -3, "mine.Own")]
    rows = [dict(zip(["run", "status", *keys], run, strict=True), reason=None) for run in runs]
    assert as_text(rows, keys, 80).splitlines() == [
        "#  optimizer  run", "1  SGD        a", "2  Own        b", "",
        "runs without a result (settings shared by most runs are omitted):", "  c (hidden=-3): failed",
    ]  # fmt: skip
