from collections.abc import Iterable
from functools import partial
from itertools import chain, islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data.batches import IGNORED, Batch, CharDataset, LaneBatches, ShuffledBatches, StreamBatches


def numbered(n: int) -> np.ndarray:
    """Ids that equal their own positions."""
    return np.arange(n, dtype=np.uint16)


def joined(batches: Iterable[Batch], dim: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets, *_ = zip(*batches, strict=True)
    return torch.cat(inputs, dim), torch.cat(targets, dim)


@pytest.mark.parametrize(
    ("characters", "length", "windows"),
    [(0, 4, 0), (1, 4, 0), (4, 4, 0), (5, 4, 1), (8, 4, 1), (9, 4, 2), (2, 1, 1), (10, 1, 9)],
)
def test_windows_cover_the_text_up_to_an_incomplete_one(characters: int, length: int, windows: int) -> None:
    dataset = CharDataset(numbered(characters), length)
    assert len(dataset) == windows
    for i in range(windows):
        x, y = dataset[i]
        assert torch.equal(x, torch.arange(i * length, (i + 1) * length))
        assert torch.equal(y, x + 1)
    with pytest.raises(IndexError):
        dataset[windows]
    if windows:
        assert torch.equal(dataset[-1][0], dataset[windows - 1][0])


@given(n=st.integers(2, 200), lanes=st.integers(1, 7), chunk=st.integers(1, 9))
def test_streams_cover_the_text_once_per_epoch(n: int, lanes: int, chunk: int) -> None:
    lanes = min(lanes, n - 1)
    batches = StreamBatches(numbered(n), lanes, chunk)
    per_lane = (n - 1) // lanes
    for _ in range(2):  # the second epoch equals the first
        epoch = list(batches)
        assert len(epoch) == len(batches)
        assert [batch.starts for batch in epoch] == [True] + [False] * (len(epoch) - 1)
        assert all(len(batch.inputs_TB) == chunk for batch in epoch[:-1])
        inputs_TB, targets_TB = joined(epoch)
        assert torch.equal(inputs_TB, torch.arange(lanes * per_lane).reshape(lanes, per_lane).T)
        assert torch.equal(targets_TB, inputs_TB + 1)
    assert n - 1 - per_lane * lanes < lanes  # fewer than B targets are dropped


@given(n=st.integers(2, 200), lanes=st.integers(1, 7), chunk=st.integers(1, 9), seed=st.integers(0, 9))
def test_rotated_lanes_start_elsewhere_in_each_epoch(n: int, lanes: int, chunk: int, seed: int) -> None:
    lanes = min(lanes, n - 1)
    stream = joined(StreamBatches(numbered(n), lanes, chunk))[0]
    batches, firsts = StreamBatches(numbered(n), lanes, chunk, seed=seed), []
    for _ in range(4):
        epoch = list(batches)
        assert [batch.starts for batch in epoch] == [True] + [False] * (len(epoch) - 1)
        inputs_TB, targets_TB = joined(epoch)
        firsts.append(int(inputs_TB[0, 0]))
        assert torch.equal(inputs_TB, (stream + firsts[-1]) % n)
        assert torch.equal(targets_TB, (inputs_TB + 1) % n)
    expected = [int(np.random.default_rng([seed, epoch]).integers(n)) for epoch in range(4)]
    assert firsts == expected


@given(n=st.integers(2, 200), lanes=st.integers(1, 7), chunk=st.integers(1, 9))
def test_evaluation_lanes_predict_every_character_but_the_first(n: int, lanes: int, chunk: int) -> None:
    batches = list(LaneBatches(numbered(n), lanes, chunk))
    assert len(LaneBatches(numbered(n), lanes, chunk)) == len(batches)
    inputs_TB, targets_TB = joined(batches)
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
        inputs_TB, targets_TB = joined(epoch, dim=1)
        assert torch.equal(targets_TB, inputs_TB + 1)
        assert sorted(inputs_TB[0].tolist()) == [4 * i for i in range(12)]
        orders.append(inputs_TB[0].tolist())
    assert orders[0] != orders[1]
    assert joined(ShuffledBatches(dataset, 5, seed=3), dim=1)[0][0].tolist() == orders[0]


ORDERS = {
    "stream": lambda ids, *share: StreamBatches(ids, 6, 7, *share),
    "rotate": lambda ids, *share: StreamBatches(ids, 6, 7, *share, seed=1),
    "shuffle": lambda ids, *share: ShuffledBatches(CharDataset(ids, 7), 6, 1, *share),  # 14 windows: the last has 2
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_restored_position_continues_with_the_next_batch(order: str) -> None:
    def make() -> StreamBatches | ShuffledBatches:
        return ORDERS[order](numbered(100))

    whole, first, second = make(), make(), make()
    expected = [*whole, *whole]
    taken = list(islice(chain(first, first), len(whole) + 2))
    second.load_state_dict(first.state_dict())
    found = [*taken, *second, *second][: len(expected)]
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.inputs_TB, theirs.inputs_TB)
        assert ours.starts == theirs.starts


def test_positions_of_older_runs_had_no_epoch() -> None:
    batches = StreamBatches(numbered(50), 3, 4)
    batches.load_state_dict({"position": 8})
    assert next(iter(batches)).inputs_TB[0, 0] == 8


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_every_batch_and_its_mean(ranks: int) -> None:
    ids = np.arange(100, dtype=np.uint8)
    for make in (*(partial(order, ids) for order in ORDERS.values()), lambda *share: LaneBatches(ids, 6, 7, *share)):
        whole, shares = list(make()), [list(make(rank, ranks)) for rank in range(ranks)]
        assert all(len(share) == len(whole) for share in shares)
        for batch, *own_batches in zip(whole, *shares, strict=True):
            read = torch.cat([own.inputs_TB for own in own_batches if own.weight], dim=1)
            assert torch.equal(read, batch.inputs_TB)
            means = [own.weight * own.targets_TB.double().mean() for own in own_batches]
            if isinstance(make(), LaneBatches):  # evaluation divides its sums once, at the end
                continue
            assert all(own.characters == batch.inputs_TB.numel() for own in own_batches)
            torch.testing.assert_close(sum(means) / ranks, batch.targets_TB.double().mean())
