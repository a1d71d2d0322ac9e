import json
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from charrnn.runs import folder, records
from charrnn.runs.records import Record, find_runs, read_job, read_metrics, read_run, validation_curve
from charrnn.utils.errors import RequestError
from charrnn.utils.files import write_text
from conftest import train_here

FINISHED = {"status": "finished", "val_bits_per_char": 2.5, "steps": 10, "train_seconds": 90.0}


def make_run(folder: Path, config: str | None = "model: {hidden: 8}\n", summary: str | None = None) -> Path:
    for file, text in ((".hydra/config.yaml", config), ("summary.json", summary)):
        if text is not None:
            write_text(folder / file, text)
    return folder


def test_runs_are_found_in_trees_and_patterns_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = make_run(tmp_path / "run")
    jobs = [make_run(tmp_path / "sweep" / name, None, "{}") for name in ("a", "b")]
    (jobs[0] / "checkpoints").mkdir()
    table = tmp_path / "sweep" / "leaderboard.csv"
    table.write_text("")
    (tmp_path / "link").symlink_to(alone)
    assert find_runs([str(tmp_path)]) == [alone, *jobs]
    assert find_runs([str(tmp_path / "sw*"), f"{tmp_path}/sweep/../sweep/a"]) == jobs
    assert find_runs([str(tmp_path / "link"), str(alone)]) == [alone]
    assert find_runs([str(jobs[1]), str(table)]) == [jobs[1]]
    monkeypatch.setattr(folder, "OUTPUTS", tmp_path)
    assert find_runs(["sweep"]) == jobs  # by its name alone
    with pytest.raises(RequestError, match="no run found in .*leaderboard.csv"):
        find_runs([str(table)])
    with pytest.raises(RequestError, match="no folder matches nowhere"):
        find_runs(["nowhere"])


def test_settings_have_dotted_keys(tmp_path: Path) -> None:
    run = make_run(tmp_path, "model: {hidden: 8, path: null}\nseed: 3\ndata: {seed: '${seed}', betas: [0.9, 0.99]}\n")
    (run / ".hydra" / "overrides.yaml").write_text("- model.hidden=8\n- data.path='a=b'\n- model=gru\n")
    assert read_run(run).settings == {
        "model.hidden": 8, "model.path": None, "seed": 3, "data.seed": "${seed}", "data.betas": [0.9, 0.99],
    }  # fmt: skip
    assert read_job(run).settings == {"model.hidden": "8", "data.path": "'a=b'", "model": "gru"}


def test_damaged_rows_of_metrics_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("step,a\n50,1.0\n100,1100,2.0\n150,\n200,3.0\n25")
    assert read_metrics(file) == [{"step": "50", "a": "1.0"}, {"step": "150"}, {"step": "200", "a": "3.0"}]


@pytest.mark.parametrize("damaged", ["model: {hid", "- 1", "", "a: '${'", "\x00"])
def test_damaged_files_make_a_broken_run_and_no_error(damaged: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, damaged, damaged)
    (run / ".hydra" / "overrides.yaml").write_text(damaged)
    (tmp_path / "without" / "summary.json").mkdir(parents=True)
    assert read_run(tmp_path / "without").summary["status"] == "unreadable"
    record = read_run(run)
    assert record.settings in ({}, {"a": "${"})
    assert record.summary["status"] == "unreadable"
    assert not record.complete
    read_job(run)


def test_number_ignores_values_that_are_not_finite_numbers(tmp_path: Path) -> None:
    record = Record(tmp_path, {}, json.loads('{"a": NaN, "b": "2", "c": null, "d": 2, "status": "finished"}'))
    assert [record.number(key) for key in "abcde"] == [None, None, None, 2, None]
    assert record.complete
    assert not Record(tmp_path, {}, {"status": "finished", "reason": "dry_run=true"}).complete


def write_curve(folder: Path, points: dict[int, float], purge: int | None = None, start: float = 1e9) -> None:
    with SummaryWriter(folder, purge_step=purge) as writer:
        for step, bits in points.items():
            writer.add_scalar(records.CURVE, bits, step, walltime=start + step)


def test_the_curve_of_a_resumed_run_has_every_point_once(tmp_path: Path) -> None:
    write_curve(tmp_path, {5: 3.0, 10: 2.5, 15: float("nan")})
    write_curve(tmp_path, {10: 2.25, 15: 2.0}, purge=10)
    points = validation_curve(Record(tmp_path, {}, FINISHED))
    assert points == [(5, 45.0, 3.0), (10, 90.0, 2.25), (15, 135.0, 2.0)]  # nine seconds a step
    without = make_run(tmp_path / "without")
    assert validation_curve(Record(without, {}, FINISHED)) == []


def test_the_curve_of_a_run_ends_at_its_summary(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{number} is not {number + 1}\n" for number in range(500)))
    changes = ("trainer.max_steps=20", "trainer.val_check_interval=5", "data=text", "threads=1", "trainer=cpu")
    train_here(tmp_path, *changes, "model.hidden=8", "data.batch_size=4", "data.sequence_length=8", path=text)
    record = read_run(tmp_path)
    points = validation_curve(record)
    assert [point.step for point in points] == [5, 10, 15, 20]
    assert points[-1].seconds == pytest.approx(record.summary["train_seconds"])
    assert min(point.bits_per_char for point in points) == pytest.approx(record.number("val_bits_per_char"), abs=0.1)
    assert (record.complete, record.settings["model.hidden"]) == (True, 8)
