import json
import math
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.runs import checkpoint_file, folder
from charrnn.utils.errors import RequestError


def make_run(folder: Path, *, checkpoint: str | None = "best.ckpt", age: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint:
        path = folder / "checkpoints" / checkpoint
        checkpoint_file.write({"state_dict": {}, "charrnn": {"format": 1}}, path)
        os.utime(path, (1e9 - age, 1e9 - age))
    return folder


@given(st.text(max_size=300))
def test_folder_names_can_be_pasted_into_an_override(overrides: str) -> None:
    name = folder.job_folder_name(overrides, 3)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    assert name not in (".", "..") or overrides in (".", "..")
    assert len(name) < 140


def test_names_of_jobs() -> None:
    plain = "model.hidden-64_optimizer.lr-0.001"
    assert [folder.job_folder_name(name, 7) for name in (plain, "")] == [plain, "job-7"]
    assert folder.job_folder_name("data.path-a/b.txt", 0).startswith("data.path-a_b.txt-")
    assert folder.job_folder_name("x" * 200 + "a", 0) != folder.job_folder_name("x" * 200 + "b", 0)


def test_the_best_checkpoint_counts_and_the_last_stands_in(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", checkpoint="last.ckpt")
    assert folder.checkpoint_of(run).name == "last.ckpt"
    make_run(run)
    assert folder.checkpoint_of(run).name == "best.ckpt"
    (run / "checkpoints" / "best.ckpt").write_bytes(b"torn")
    assert folder.checkpoint_of(run).name == "last.ckpt"
    with pytest.raises(RequestError, match="holds no readable checkpoint"):
        folder.checkpoint_of(tmp_path)


def test_latest_is_the_newest_run_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="train one with"):
        folder.latest_run(tmp_path)
    make_run(tmp_path / "old", age=100)
    job = make_run(tmp_path / "sweep_1" / "model.hidden-64", age=10)
    make_run(tmp_path / "empty", checkpoint=None)
    torn = make_run(tmp_path / "torn", age=1)
    (torn / "checkpoints" / "best.ckpt").write_bytes(b"torn")
    assert folder.latest_run(tmp_path) == job


def test_what_run_and_checkpoint_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run")
    best = run / "checkpoints" / "best.ckpt"
    assert folder.find_checkpoint(str(run), None) == best
    assert folder.find_checkpoint(None, "x/y.ckpt") == Path("x/y.ckpt")
    monkeypatch.setattr(folder, "latest_run", lambda: run)
    assert folder.find_checkpoint("latest", None) == folder.find_checkpoint(None, None) == best
    monkeypatch.setattr(folder, "OUTPUTS", tmp_path)
    assert folder.find_checkpoint("run", None) == best  # by its name alone


def test_a_summary_is_json_whatever_the_numbers(tmp_path: Path) -> None:
    folder.write_summary(tmp_path, {"status": "finished", "a": math.nan, "b": math.inf, "c": 1.5})
    expected = {"status": "finished", "a": None, "b": None, "c": 1.5}
    assert json.loads((tmp_path / "summary.json").read_text()) == folder.read_summary(tmp_path) == expected
    assert folder.read_summary(tmp_path / "gone")["status"] == "missing"
