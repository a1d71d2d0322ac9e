"""Cut a text into batches, in the orders that training and evaluation use.

B lane (one of the B sequences of a batch), T time step. A target is the character that follows its input.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from charrnn.data.vocabulary import Ids
from charrnn.utils.validation import require_integer

IGNORED = -100  # torch's cross_entropy skips this target by default


class Batch(NamedTuple):
    """A batch: inputs and targets, int64, and whether its sequences start here from a zero state (`starts`).

    Several ranks may share a batch: the other ranks read `other_lanes` of its sequences. The mean loss of the whole
    batch is the mean over all ranks of `weight` times the rank's own mean loss.
    """

    inputs_TB: Tensor
    targets_TB: Tensor
    starts: bool
    weight: float = 1.0
    other_lanes: int = 0

    @property
    def characters(self) -> int:
        """The number of characters in the whole batch, on all ranks."""
        steps, lanes = self.inputs_TB.shape
        return steps * (lanes + self.other_lanes)


class CharDataset(Dataset[tuple[Tensor, Tensor]]):
    """The consecutive windows of a text: item i is (X, y), int64 [sequence_length], where y is X shifted by one."""

    def __init__(self, ids: Ids, sequence_length: int = 64) -> None:
        self.ids = ids
        self.sequence_length = require_integer("sequence_length", sequence_length)

    def __len__(self) -> int:
        return max(0, len(self.ids) - 1) // self.sequence_length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"window {index} does not exist; the text has {len(self)} windows")
        start = index % len(self) * self.sequence_length
        window = torch.from_numpy(self.ids[start : start + self.sequence_length + 1].astype(np.int64))
        return window[:-1], window[1:]


def read_sequences(ids: Ids, starts_B: NDArray[np.int64], length: int, starts: bool, *, ring: bool = False) -> Batch:
    """Return a batch of `length` time steps from each of the given positions. In a ring, the start follows the end."""
    positions = np.arange(length + 1)[:, None] + starts_B
    window = torch.from_numpy(ids[positions % len(ids) if ring else positions].astype(np.int64))
    return Batch(window[:-1], window[1:], starts)


class StreamBatches:
    """Yields training batches in `stream` order: each lane reads its own contiguous segment, chunk by chunk.

    Each lane has (n - 1) // B targets, so fewer than B targets are dropped; the last chunk of an epoch may be shorter.
    With `seed`, the order is `rotate`: in each epoch the first lane starts at a random position, and the text's start
    follows its end. So lanes and chunks differ between epochs. They depend only on the seed and the epoch number.
    The position is saved with the run and points to the next batch, so a resumed run continues there.
    Each of several ranks reads its own B / ranks lanes.
    """

    def __init__(
        self, ids: Ids, batch_size: int, sequence_length: int, rank: int = 0, ranks: int = 1, *, seed: int | None = None
    ) -> None:
        self._ids = ids
        self._seed = seed
        self._epoch = 0
        self._length = (len(ids) - 1) // batch_size
        starts_B = np.arange(batch_size, dtype=np.int64) * self._length
        self._starts_B = np.split(starts_B, ranks)[rank]
        self._other_lanes = batch_size - len(self._starts_B)
        self._chunk = sequence_length
        self._position = 0

    def __len__(self) -> int:
        return math.ceil(self._length / self._chunk)

    def __iter__(self) -> Iterator[Batch]:
        # Reset here, not after the loop: Lightning stops calling `next`, so code after the loop never runs.
        if self._position >= self._length:
            self._position = 0
            self._epoch += 1
        first = 0
        if self._seed is not None:
            first = int(np.random.default_rng([self._seed, self._epoch]).integers(len(self._ids)))
        while self._position < self._length:
            position = self._position
            steps = min(self._chunk, self._length - position)
            self._position += steps
            starts_B = self._starts_B + first + position
            batch = read_sequences(self._ids, starts_B, steps, starts=position == 0, ring=self._seed is not None)
            yield batch._replace(other_lanes=self._other_lanes)

    def state_dict(self) -> dict[str, int]:
        return {"position": self._position, "epoch": self._epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        # Runs of older versions did not count the epochs, which start at the same place in the order `stream`.
        self._position, self._epoch = state["position"], state.get("epoch", 0)


class ShuffledBatches:
    """Yields training batches in `shuffle` order: the windows of a `CharDataset` at random, each from a zero state.

    The order of an epoch depends only on the seed and the epoch number. The last batch may be smaller.
    Each of several ranks reads its share of every batch.
    """

    def __init__(self, dataset: CharDataset, batch_size: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self._dataset = dataset
        self._batch_size = batch_size
        self._seed = seed
        self._rank, self._ranks = rank, ranks
        self._epoch = 0
        self._position = 0

    def __len__(self) -> int:
        return math.ceil(len(self._dataset) / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        if self._position >= len(self._dataset):
            self._position = 0
            self._epoch += 1
        length = self._dataset.sequence_length
        starts = np.random.default_rng([self._seed, self._epoch]).permutation(len(self._dataset)) * length
        while self._position < len(starts):
            starts_B = starts[self._position : self._position + self._batch_size]
            self._position += len(starts_B)
            own_B = np.array_split(starts_B, self._ranks)[self._rank]
            weight = len(own_B) * self._ranks / len(starts_B)
            if not len(own_B):  # every rank needs a batch at every step; this one has weight 0
                own_B = starts_B[:1]
            batch = read_sequences(self._dataset.ids, own_B, length, starts=True)
            yield batch._replace(weight=weight, other_lanes=len(starts_B) - len(own_B))

    def state_dict(self) -> dict[str, int]:
        return {"position": self._position, "epoch": self._epoch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._position, self._epoch = state["position"], state["epoch"]


class LaneBatches:
    """Yields the whole text for evaluation: one contiguous segment per lane, every character but the first a target.

    A segment has ceil((n - 1) / lanes) targets; those past the end of the text are IGNORED. Each of several ranks gets
    its share of the lanes, at least one.
    """

    def __init__(self, ids: Ids, lanes: int, chunk: int, rank: int = 0, ranks: int = 1) -> None:
        lanes = max(lanes, ranks)
        self._ids, self._chunk, self._length = ids, chunk, math.ceil((len(ids) - 1) / lanes)
        self._starts_B = np.array_split(np.arange(lanes) * self._length, ranks)[rank]

    def __len__(self) -> int:
        return math.ceil(self._length / self._chunk)

    def __iter__(self) -> Iterator[Batch]:
        last = len(self._ids) - 1
        for position in range(0, self._length, self._chunk):
            steps = min(self._chunk, self._length - position)
            positions_TB = position + 1 + np.arange(steps)[:, None] + self._starts_B
            inputs_TB = self._ids[np.minimum(positions_TB - 1, last)].astype(np.int64)
            targets_TB = self._ids[np.minimum(positions_TB, last)].astype(np.int64)
            targets_TB[positions_TB > last] = IGNORED
            yield Batch(torch.from_numpy(inputs_TB), torch.from_numpy(targets_TB), starts=position == 0)
