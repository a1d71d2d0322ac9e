import io
import logging
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unicodedata import east_asian_width

import pytest
from lightning.pytorch.trainer.states import TrainerFn

from charrnn.training.callbacks.progress import MAX_LINES, Progress
from charrnn.utils.screen import ScreenHandler
from conftest import train_here

TEXT_LENGTH = 2000
SMALL = (
    "data=text", "model.hidden=6", "data.batch_size=3", "data.sequence_length=7", "trainer.accelerator=cpu",
    "threads=1", "trainer.max_steps=40", "trainer.val_check_interval=10", "trainer.log_every_n_steps=5",
)  # fmt: skip
LINE = re.compile(r"^ *(\d+)  train \d\.\d{3}  val \d\.\d{3} \| (.+)$", re.MULTILINE)


def lines(steps: int, interval: int, sample: str = "abc", stops_at: int = -1) -> list[str]:
    """Return the lines of a run of `steps` steps with these validations; a callback may stop it."""
    found: list[str] = []
    latest = {"bits_per_char/train": 2.0, "bits_per_char/val": 3.0}
    module: Any = SimpleNamespace(metric_log=SimpleNamespace(latest=latest))
    progress = Progress(steps, found.append, lambda: sample)
    for step in [*range(interval, steps, interval), steps]:
        trainer: Any = SimpleNamespace(
            global_step=step,
            val_check_interval=interval,
            should_stop=step == stops_at,
            state=SimpleNamespace(fn=TrainerFn.FITTING),
        )
        progress.on_validation_end(trainer, module)
    return found


@pytest.mark.parametrize(("steps", "interval", "every"), [(1000, 100, 100), (2000, 100, 100), (2001, 100, 200)])
def test_a_line_per_validation_or_evenly_thinned(steps: int, interval: int, every: int) -> None:
    shown = [int(line.split()[0].replace(",", "")) for line in lines(steps, interval)]
    assert shown == sorted({interval, *range(every, steps + 1, every), steps})
    assert len(shown) <= MAX_LINES + 1


def test_the_last_line_of_a_run_that_is_stopped_early() -> None:
    assert [line.split()[0] for line in lines(100_000, 100, stops_at=300)[:2]] == ["100", "300"]


def test_a_sample_never_breaks_the_line() -> None:
    assert lines(1000, 1000, "a\n\n  b\tc\x1b[31m\x00d")[0].endswith(" | a b c·[31m·d")
    for sample in ("x" * 300, "漢字" * 300, "a漢" * 300):
        (line,) = lines(1_000_000, 1_000_000, sample)
        assert 70 < sum(2 if east_asian_width(character) in "WF" else 1 for character in line) < 80


def test_the_sample_is_the_one_of_samples_txt(text: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "charrnn")
    train_here(tmp_path, *SMALL, path=text)
    written = re.split(r"--- step \d+ ---\n", (tmp_path / "samples.txt").read_text("utf-8"))[1:5]
    shown = [message for message in map(LINE.match, caplog.messages) if message]
    assert [int(match[1]) for match in shown] == [10, 20, 30, 40]
    for match, sample in zip(shown, written, strict=True):
        assert " ".join(sample.split()).startswith(match[2].replace("·", "")[:30])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_lines_are_above_the_bar(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    handler = ScreenHandler(screen)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    train_here(tmp_path, *SMALL, path=text)
    assert "40/40" in screen.getvalue()  # the bar
    assert ", validation" in screen.getvalue()  # why it stands still
    # A carriage return starts the line again: before each line, spaces have covered the bar.
    seen = [line.rpartition("\r")[2] for line in screen.getvalue().split("\n")]
    assert [int(match[1]) for match in map(LINE.match, seen) if match] == [10, 20, 30, 40]
    assert not any("% |" in line for line in seen)
    assert ScreenHandler.write_mode is nullcontext
