from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data import (
    IGNORED,
    CharDataModule,
    CharDataset,
    LaneBatches,
    ShuffledBatches,
    StreamBatches,
    read_part,
    split_lanes,
    split_sizes,
)
from charrnn.errors import RequestError

SETTINGS: dict[str, Any] = {
    "sha256": None,
    "sequence_length": 4,
    "batch_size": 3,
    "order": "stream",
    "validation_fraction": 0.1,
    "test_fraction": 0.1,
    "seed": 1,
}


def numbered(n: int) -> np.ndarray:
    """Ids that tell their own position."""
    return np.arange(n, dtype=np.uint16)


def make_data(tmp_path: Path, text: str, **changes: Any) -> CharDataModule:
    file = tmp_path / "text.txt"
    file.write_bytes(text.encode("utf-8"))
    return CharDataModule(path=str(file), **{**SETTINGS, **changes})


@pytest.mark.parametrize(
    ("characters", "length", "windows"),
    [(0, 4, 0), (1, 4, 0), (4, 4, 0), (5, 4, 1), (8, 4, 1), (9, 4, 2), (2, 1, 1), (10, 1, 9)],
)
def test_the_last_window_ends_with_the_text_and_none_is_missing(characters: int, length: int, windows: int) -> None:
    dataset = CharDataset(numbered(characters), length)
    assert len(dataset) == windows
    for i in range(windows):
        x, y = dataset[i]
        assert x.tolist() == list(range(i * length, (i + 1) * length))
        assert y.tolist() == [position + 1 for position in x.tolist()]
        assert x.dtype == y.dtype == torch.int64
    with pytest.raises(IndexError):
        dataset[windows]
    if windows:
        assert torch.equal(dataset[-1][0], dataset[windows - 1][0])


@given(n=st.integers(2, 200), lanes=st.integers(1, 7), chunk=st.integers(1, 9))
def test_streams_cover_the_text_once_per_epoch(n: int, lanes: int, chunk: int) -> None:
    lanes = min(lanes, n - 1)
    batches = StreamBatches(numbered(n), lanes, chunk)
    per_lane = (n - 1) // lanes
    for _ in range(2):  # the second epoch is like the first
        epoch = list(batches)
        assert len(epoch) == len(batches)
        assert [batch.starts for batch in epoch] == [True] + [False] * (len(epoch) - 1)
        assert all(len(batch.inputs_TB) == chunk for batch in epoch[:-1])
        inputs_TB = torch.cat([batch.inputs_TB for batch in epoch])
        targets_TB = torch.cat([batch.targets_TB for batch in epoch])
        assert inputs_TB.shape == (per_lane, lanes)
        for lane in range(lanes):
            assert inputs_TB[:, lane].tolist() == list(range(lane * per_lane, (lane + 1) * per_lane))
        assert torch.equal(targets_TB, inputs_TB + 1)
    assert n - 1 - per_lane * lanes < lanes  # fewer than B targets are left over


@given(n=st.integers(2, 200), lanes=st.integers(1, 7), chunk=st.integers(1, 9))
def test_evaluation_lanes_predict_every_character_but_the_first(n: int, lanes: int, chunk: int) -> None:
    batches = list(split_lanes(numbered(n), lanes, chunk))
    assert len(LaneBatches(numbered(n), lanes, chunk)) == len(batches)
    inputs_TB = torch.cat([batch.inputs_TB for batch in batches])
    targets_TB = torch.cat([batch.targets_TB for batch in batches])
    seen = targets_TB != IGNORED
    assert torch.equal(targets_TB[seen], inputs_TB[seen] + 1)
    assert sorted(targets_TB[seen].tolist()) == list(range(1, n))
    assert [batch.starts for batch in batches] == [True] + [False] * (len(batches) - 1)


def test_shuffled_windows_come_once_per_epoch_in_a_new_order() -> None:
    dataset = CharDataset(numbered(50), 4)  # 12 windows, batches of 5, 5, 2
    batches = ShuffledBatches(dataset, 5, seed=3)
    orders = []
    for _ in range(2):
        epoch = list(batches)
        assert [batch.inputs_TB.shape[1] for batch in epoch] == [5, 5, 2]
        assert len(epoch) == len(batches)
        assert all(batch.starts for batch in epoch)
        windows = torch.cat([batch.inputs_TB for batch in epoch], dim=1).T
        assert torch.equal(torch.cat([batch.targets_TB for batch in epoch], dim=1).T, windows + 1)
        assert sorted(windows[:, 0].tolist()) == [4 * i for i in range(12)]
        orders.append(windows[:, 0].tolist())
    assert orders[0] != orders[1]
    again = ShuffledBatches(dataset, 5, seed=3)
    assert torch.cat([batch.inputs_TB[0] for batch in again]).tolist() == orders[0]


@pytest.mark.parametrize("order", ["stream", "shuffle"])
def test_a_saved_position_goes_on_with_the_next_batch(order: str) -> None:
    def make() -> StreamBatches | ShuffledBatches:
        ids = numbered(50)
        return StreamBatches(ids, 3, 4) if order == "stream" else ShuffledBatches(CharDataset(ids, 4), 3, seed=1)

    whole = make()
    expected = [batch for _ in range(2) for batch in whole]
    first = make()
    taken = [batch for _, batch in zip(range(6), (b for _ in range(2) for b in first), strict=False)]
    second = make()
    second.load_state_dict(first.state_dict())
    rest = [batch for _ in range(2) for batch in second]
    for ours, theirs in zip(taken + rest, expected, strict=False):
        assert torch.equal(ours.inputs_TB, theirs.inputs_TB)
        assert ours.starts == theirs.starts
    assert len(taken + rest) >= len(expected)


@pytest.mark.parametrize(
    ("n", "v", "t", "sizes"),
    [
        (1_115_394, 0.1, 0.0, (1_003_854, 111_540, 0)),
        (1000, 0.05, 0.05, (int((1 - 0.05 - 0.05) * 1000), 50, 1000 - int((1 - 0.05 - 0.05) * 1000) - 50)),
        (11, 0.0, 0.5, (5, 0, 6)),
        (11, 0.0, 0.0, (11, 0, 0)),
    ],
)
def test_parts_are_contiguous_tails(n: int, v: float, t: float, sizes: tuple[int, int, int]) -> None:
    assert split_sizes(n, v, t) == sizes


def test_parts_batches_and_settings_of_a_data_module(tmp_path: Path) -> None:
    text = "".join(chr(97 + i * i % 13) for i in range(200))
    data = make_data(tmp_path, text)
    parts = [data.vocabulary.decode(ids) for ids in (data.train_ids, data.validation_ids, data.test_ids)]
    assert parts == [text[:160], text[160:180], text[180:]]
    assert data.batches_per_epoch == len(list(data.train_dataloader())) == 14
    assert sum(int((batch.targets_TB != IGNORED).sum()) for batch in data.val_dataloader()) == 19
    for part, ids in zip(("train", "validation", "test"), parts, strict=True):
        assert data.vocabulary.decode(read_part(data.settings, data.vocabulary, part)) == ids
    (tmp_path / "text.txt").write_text(text + "!")
    with pytest.raises(RequestError, match="has changed since"):
        read_part(data.settings, data.vocabulary, "train")


def test_no_validation_part_gives_no_validation_batches(tmp_path: Path) -> None:
    data = make_data(tmp_path, "ab" * 100, validation_fraction=0.0, test_fraction=0.0)
    assert data.val_dataloader() == []
    assert len(data.train_ids) == 200
    with pytest.raises(RequestError, match="no validation part"):
        read_part(data.settings, data.vocabulary, "validation")


@pytest.mark.parametrize("order", ["stream", "shuffle"])
def test_a_text_too_small_names_what_fits_and_that_does_fit(tmp_path: Path, order: str) -> None:
    whole = {"validation_fraction": 0.0, "test_fraction": 0.0, "order": order}
    with pytest.raises(RequestError, match=r"data\.batch_size=4 or data\.sequence_length=3$"):
        make_data(tmp_path, "abcdef" * 4, batch_size=6, sequence_length=5, **whole)
    assert make_data(tmp_path, "abcdef" * 4, batch_size=4, sequence_length=5, **whole).batches_per_epoch == 1
    make_data(tmp_path, "abcdef" * 4, batch_size=6, sequence_length=3, **whole)
    with pytest.raises(RequestError, match=r"fits is data\.batch_size=1 with data\.sequence_length=2$"):
        make_data(tmp_path, "abc", **whole)
    make_data(tmp_path, "abc", batch_size=1, sequence_length=2, **whole)
    with pytest.raises(RequestError, match="take a longer text"):
        make_data(tmp_path, "a", **whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": "random"}, "order must be one of stream, shuffle"),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
        ({"sequence_length": "long"}, "sequence_length must be a positive integer"),
        ({"validation_fraction": 1.5}, "validation_fraction must be a number"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "must stay below 1"),
        ({"validation_fraction": 0.001}, "the validation part has 0 of 200 characters"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        make_data(tmp_path, "ab" * 100, **changes)
