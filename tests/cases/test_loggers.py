"""What a run logs: metrics.csv always, TensorBoard by default, any logger of Lightning, several at once."""

import csv
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from charrnn.runs.records import read_run, validation_curve
from charrnn.utils.errors import RequestError, RunFailed
from conftest import composed, train_here

TEXT_LENGTH = 2000
SMALL = (
    "data=text", "model.hidden=6", "data.batch_size=3", "data.sequence_length=7", "trainer.accelerator=cpu",
    "threads=1", "trainer.max_steps=40", "trainer.val_check_interval=10", "trainer.log_every_n_steps=5",
)  # fmt: skip


def metrics(folder: Path, file: str = "metrics.csv") -> dict[tuple[int, str], float]:
    """The metrics in a CSV file by step and name, without the speed, which depends on the machine."""
    with (folder / file).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [int(row["step"]) for row in rows] == sorted({int(row["step"]) for row in rows})
    cells = {(int(row["step"]), name): cell for row in rows for name, cell in row.items() if name != "step" and cell}
    return {key: float(cell) for key, cell in cells.items() if not key[1].startswith("speed/")}


def test_25_metrics_csv_has_what_tensorboard_has(text: Path, tmp_path: Path) -> None:
    train_here(tmp_path, *SMALL, path=text)
    events = EventAccumulator(str(tmp_path)).Reload()
    shown = {
        (point.step, tag): point.value
        for tag in events.Tags()["scalars"]
        if not tag.startswith(("speed/", "reference/"))
        for point in events.Scalars(tag)
    }
    logged = metrics(tmp_path)
    nats = {key for key in logged if key[1].startswith("nats_per_char/")}  # TensorBoard has them as bits
    assert (10, "nats_per_char/val") in nats and (10, "bits_per_char/val") in logged
    assert logged.keys() - nats == shown.keys()
    assert all(logged[key] == pytest.approx(shown[key], rel=1e-6) for key in shown)


def test_25_only_metrics_csv(text: Path, tmp_path: Path) -> None:
    train_here(tmp_path, *SMALL, "logger=csv", path=text)
    assert not list(tmp_path.glob("events*")) and (40, "result/val_bits_per_char") in metrics(tmp_path)
    assert [point.step for point in validation_curve(read_run(tmp_path))] == [10, 20, 30, 40]


def test_25_a_resumed_run_has_each_step_once(text: Path, tmp_path: Path) -> None:
    train_here(tmp_path / "whole", *SMALL, path=text)
    parts = (*SMALL, "scheduler.total_steps=40")
    train_here(tmp_path / "parts", *parts, "trainer.max_steps=25", path=text)
    train_here(tmp_path / "parts", *parts, "resume_from=last", path=text)
    whole, joined = metrics(tmp_path / "whole"), metrics(tmp_path / "parts")
    extra = {key for key in joined.keys() - whole.keys() if key[0] == 25}  # its own last validation and scores
    assert {key: joined[key] for key in joined.keys() - extra} == whole


def test_25_loggers_of_lightning(text: Path, tmp_path: Path) -> None:
    other = "+logger.mine={_target_: lightning.pytorch.loggers.CSVLogger, flush_logs_every_n_steps: 1}"
    train_here(tmp_path, *SMALL, other, path=text)
    file = "lightning_logs/version_0/metrics.csv"
    mine, own = metrics_of_lightning(tmp_path / file), metrics(tmp_path)
    assert mine.keys() == own.keys() and list(tmp_path.glob("events*"))


def metrics_of_lightning(file: Path) -> dict[tuple[int, str], float]:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [(int(row["step"]), row) for row in csv.DictReader(lines)]
    cells = {(step, name): cell for step, row in rows for name, cell in row.items() if cell}
    return {key: float(cell) for key, cell in cells.items() if key[1] != "step" and "speed/" not in key[1]}


def test_25_several_groups() -> None:
    assert sorted(composed("logger=[tensorboard,wandb]").logger) == ["tensorboard", "wandb"]
    assert dict(composed("logger=csv").logger) == {}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+logger.mine=3", "logger.mine must name a Lightning logger with _target_, got 3"),
        ("+logger.mine={_target_: builtins.dict}", "logger.mine must name a class of Logger with _target_, got dict"),
        ("+logger.mine={_target_: lightning.pytorch.loggers.Nothing}", "logger.mine: .*Nothing"),
        ("+logger.mine={_target_: lightning.pytorch.loggers.CSVLogger, nam: a}", "logger.mine.nam is not a setting"),
    ],
)
def test_25_what_is_no_logger(override: str, message: str, text: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message):
        train_here(tmp_path, *SMALL, override, path=text)


def test_25_a_logger_that_is_not_installed(text: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning.pytorch.loggers")
    try:
        import wandb  # type: ignore[import-not-found]  # noqa: F401

        pytest.skip("wandb is installed")
    except ModuleNotFoundError:
        pass
    with pytest.raises(RequestError, match="logger.wandb: .*wandb"):
        train_here(tmp_path, *SMALL, "logger=wandb", path=text)


def test_25_metrics_csv_outlives_a_full_disk(text: Path, tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("charrnn.training.metrics_file.write_text", full)
    assert train_here(tmp_path, *SMALL, path=text)["status"] == "finished"
    assert caplog.text.count("metrics.csv (No space left on device); training continues") == 1


ENDED: list[str] = []


class Failing(CSVLogger):
    """Fails when it starts, or at a later call."""

    def __init__(self, save_dir: str, when: str) -> None:
        super().__init__(save_dir)
        self.when = when

    @property
    def experiment(self) -> Any:
        if self.when == "start":
            raise ConnectionError("no server\nat this address")
        return super().experiment

    def log_metrics(self, *arguments: Any, **named: Any) -> None:
        if self.when == "later":
            raise ConnectionError("no server\nany more")
        super().log_metrics(*arguments, **named)

    def finalize(self, status: str) -> None:
        super().finalize(status)
        ENDED.append(status)


def test_25_a_logger_that_can_not_start_is_refused_in_one_line(text: Path, tmp_path: Path) -> None:
    logger = "+logger.mine={_target_: test_loggers.Failing, when: start}"
    with pytest.raises(RequestError, match=r"logger.mine \(Failing\) can't start: no server at this address$"):
        train_here(tmp_path, *SMALL, logger, path=text)


def test_25_a_logger_that_fails_later_does_not_end_the_run(text: Path, tmp_path: Path, caplog: Any) -> None:
    whole = train_here(tmp_path / "whole", *SMALL, path=text)
    logger = "+logger.mine={_target_: test_loggers.Failing, when: later}"
    summary = train_here(tmp_path / "run", *SMALL, logger, path=text)
    assert summary["status"] == "finished" and summary["val_nats_per_char"] == whole["val_nats_per_char"]
    assert caplog.text.count("logger.mine (Failing) fails: no server any more; training continues without it") == 1


@pytest.mark.parametrize(("override", "status"), [("seed=1", "success"), ("+callbacks.t.step=9", "failed")])
def test_25_a_logger_is_told_how_the_run_ended(override: str, status: str, text: Path, tmp_path: Path) -> None:
    ENDED.clear()
    command = (*SMALL, "+logger.mine={_target_: test_loggers.Failing, when: never}", override)
    if status == "success":
        train_here(tmp_path, *command, path=text)
    else:
        raises = "+callbacks.t={_target_: test_endings.Ending, hook: on_train_batch_end, error: no luck}"
        with pytest.raises(RunFailed):
            train_here(tmp_path, *SMALL, command[-2], raises, override, path=text)
    assert ENDED[-1] == status
