"""Tiny training runs on all kinds of texts. test_bad_requests.py has the texts that are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn import experiment
from charrnn.data.splits import read_split
from charrnn.runs import checkpoint_file
from charrnn.runs.load import load_network
from conftest import train_here

SMALL = (
    "data=text", "model.hidden=4", "data.batch_size=2", "data.sequence_length=3", "trainer.accelerator=cpu",
    "trainer.max_steps=2", "threads=1", "data.validation_fraction=0", "data.test_fraction=0",
    "trainer.log_every_n_steps=1",
)  # fmt: skip


def train(folder: Path, path: Path | str | list[str], *overrides: str) -> dict[str, Any]:
    return train_here(folder, *SMALL, *overrides, path=path)


def text_file(folder: Path, raw: bytes, name: str = "a.txt") -> Path:
    file = folder / name
    file.write_bytes(raw)
    return file


@pytest.mark.parametrize(
    ("raw", "overrides", "symbols"),
    [
        (b"a" * 20, (), 1),
        (b"a\x00b\x00c\x00a\x00", (), 4),
        ("👍🏽e\u0301e\u0301ñ👨‍👩‍👧 and so on".encode(), (), 15),
        ("e\u0301e\u0301e\u0301e\u0301".encode(), ("data.normalize=nfc", "data.batch_size=1"), 1),
        (b"bad \xff\xfe bytes \x80 here", ("data.errors=replace",), 11),
        (bytes(range(256)), ("data.level=byte",), 256),
        (b"abcabcabcabcabcabcabcabd", ("data.vocabulary_from=train", "data.validation_fraction=0.1"), 4),
    ],
)
def test_texts_that_work(tmp_path: Path, raw: bytes, overrides: tuple[str, ...], symbols: int) -> None:
    summary = train(tmp_path / "run", text_file(tmp_path, raw), *overrides)
    assert (summary["status"], summary["steps"]) == ("finished", 2)
    assert summary["vocabulary_size"] == symbols


def test_scores_of_bytes_are_per_character(tmp_path: Path) -> None:
    file = text_file(tmp_path, ("é" * 400).encode())
    summary = train(
        tmp_path / "run",
        file,
        "data.level=byte",
        "data.validation_fraction=0.5",
        "trainer.max_steps=1",
        "model.output_std=0",
    )
    # After one step all 256 bytes are still about equally likely: 8 bits per byte, 16 per character.
    assert summary["val_bits_per_char"] == pytest.approx(16, abs=1)
    saved = checkpoint_file.read(tmp_path / "run" / "checkpoints" / "best.ckpt")
    # The curve is also per character; it differs a little because each of its lanes starts from a zero state.
    assert saved["callbacks"]["Checkpoints"]["best"] == pytest.approx(summary["val_nats_per_char"], rel=0.02)


def test_bytes_that_are_not_utf8_are_scored_per_byte(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(256, size=2000).astype(np.uint8).tobytes()
    summary = train(
        tmp_path / "run",
        text_file(tmp_path, raw),
        "data.level=byte",
        "data.validation_fraction=0.5",
        "model.output_std=0",
    )
    assert summary["val_bits_per_char"] == pytest.approx(8, abs=0.5)
    _, vocabulary, data, _ = load_network(summary["checkpoint"])
    ids = read_split(data, vocabulary, "validation")
    assert ids.tobytes() == raw[1000:]


def test_a_dry_run_trains_nothing_and_leaves_the_random_generators_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = text_file(tmp_path, b"the quick brown fox\r\n" * 20)
    states = []

    def recording(report: Any) -> Any:
        return lambda *arguments, **named: (states.append(torch.get_rng_state()), report(*arguments, **named))[1]

    monkeypatch.setattr(experiment, "report_text", recording(experiment.report_text))
    monkeypatch.setattr(experiment, "report_start", recording(experiment.report_start))
    with caplog.at_level("INFO", "charrnn"):
        overrides = ("dry_run=true", "model.layers=2", "model.dropout=0.5", "data.validation_fraction=0.2")
        summary = train(tmp_path / "run", file, *overrides)
    assert (summary["status"], summary["steps"], summary["val_bits_per_char"]) == ("finished", 0, None)
    assert torch.equal(*states)
    assert not (tmp_path / "run" / "checkpoints").exists()
    for expected in (
        "text      a.txt: 420 characters, 18 symbols; train 336, validation 84, test 0", "frequent  ' ' 60 'o' 40",
        "baselines unigram ", "data.newlines=lf converts them", "an epoch has 56 batches", "ms a step",
        "dry run   nothing was trained",
    ):  # fmt: skip
        assert expected in caplog.text
