from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.data.batches import IGNORED, Batch
from charrnn.data.datamodule import CharDataModule
from charrnn.data.splits import read_split, split
from charrnn.utils.errors import RequestError
from conftest import TEXT

SETTINGS: dict[str, Any] = {
    **TEXT, "sequence_length": 4, "batch_size": 3, "order": "stream", "seed": 1,
    "validation_fraction": 0.1, "test_fraction": 0.1,
}  # fmt: skip


def make_data(tmp_path: Path, text: str, **changes: Any) -> CharDataModule:
    file = tmp_path / "text.txt"
    file.write_bytes(text.encode("utf-8"))
    return CharDataModule(path=str(file), **{**SETTINGS, **changes})


@pytest.mark.parametrize(
    ("n", "v", "t", "sizes"),
    [
        (1_115_394, 0.1, 0.0, (1_003_854, 111_540, 0)),
        (1000, 0.05, 0.05, (int((1 - 0.05 - 0.05) * 1000), 50, 1000 - int((1 - 0.05 - 0.05) * 1000) - 50)),
        (11, 0.0, 0.5, (5, 0, 6)),
        (11, 0.0, 0.0, (11, 0, 0)),
    ],
)
def test_the_splits_are_contiguous(n: int, v: float, t: float, sizes: tuple[int, int, int]) -> None:
    assert tuple(map(len, split(np.arange(n), v, t).values())) == sizes


def test_splits_batches_and_settings_of_a_data_module(tmp_path: Path) -> None:
    text = "".join(chr(97 + i * i % 13) for i in range(200))
    data = make_data(tmp_path, text)
    splits = [data.vocabulary.decode(ids) for ids in (data.train_ids, data.validation_ids, data.test_ids)]
    assert splits == [text[:160], text[160:180], text[180:]]
    assert data.batches_per_epoch == len(list(data.train_dataloader())) == 14
    assert sum(int((batch.targets_TB != IGNORED).sum()) for batch in data.val_dataloader()) == 19
    for name, expected in zip(("train", "validation", "test"), splits, strict=True):
        assert data.vocabulary.decode(read_split(data.settings, data.vocabulary, name)) == expected
    (tmp_path / "text.txt").write_text(text + "!")
    with pytest.raises(RequestError, match="has changed since"):
        read_split(data.settings, data.vocabulary, "train")


@pytest.mark.parametrize("order", ["stream", "rotate", "shuffle"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_chooses_how_the_training_text_is_read(tmp_path: Path, order: str, seed: int) -> None:
    data = make_data(tmp_path, "".join(chr(0x4E00 + i) for i in range(200)), order=order, seed=seed)
    inputs_TB, _, starts, *_ = list(data.train_dataloader())[1]
    places: dict[str, Any] = {  # of the second batch: lanes have (160 - 1) // 3 = 53 characters, chunks 4
        "stream": [4, 57, 110],
        "rotate": (np.array([4, 57, 110]) + np.random.default_rng([seed, 0]).integers(160)) % 160,
        "shuffle": np.random.default_rng([seed, 0]).permutation(39)[3:6] * 4,
    }
    assert torch.equal(inputs_TB[0], torch.from_numpy(data.train_ids[places[order]].astype(np.int64)))
    assert starts == (order == "shuffle")


def test_a_batch_moves_to_another_device_only(tmp_path: Path) -> None:
    data = make_data(tmp_path, "ab" * 50)
    batch = next(iter(data.train_dataloader()))
    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert isinstance(moved, Batch) and moved.starts is True
    assert moved.inputs_TB.device.type == moved.targets_TB.device.type == "meta"


def test_without_a_validation_split_there_are_no_validation_batches(tmp_path: Path) -> None:
    data = make_data(tmp_path, "ab" * 100, validation_fraction=0.0, test_fraction=0.0)
    assert data.val_dataloader() == []
    assert len(data.train_ids) == 200
    with pytest.raises(RequestError, match="no validation split"):
        read_split(data.settings, data.vocabulary, "validation")


@pytest.mark.parametrize("order", ["stream", "rotate", "shuffle"])
def test_the_error_for_a_short_text_suggests_sizes_that_fit(tmp_path: Path, order: str) -> None:
    def make(text: str, batch_size: int, sequence_length: int) -> CharDataModule:
        sizes = {"batch_size": batch_size, "sequence_length": sequence_length}
        return make_data(tmp_path, text, validation_fraction=0.0, test_fraction=0.0, order=order, **sizes)

    for text, message in (
        ("abcdef" * 4, r"data\.batch_size=4 or data\.sequence_length=3$"),
        ("abc", r"fits is data\.batch_size=1 with data\.sequence_length=2$"),
        ("a", "use a longer text"),
        ("", "text.txt is empty"),
    ):
        with pytest.raises(RequestError, match=message):
            make(text, 6, 5)
    assert make("abcdef" * 4, 4, 5).batches_per_epoch == 1
    make("abcdef" * 4, 6, 3)
    make("abc", 1, 2)


@pytest.mark.parametrize("changes", [{"batch_size": 0}, {"sequence_length": "long"}, {"validation_fraction": 1.5}])
def test_settings_out_of_range_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=f"{next(iter(changes))} must be a "):
        make_data(tmp_path, "ab" * 100, **changes)
