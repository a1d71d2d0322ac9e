"""Measure how much context a prediction uses: the loss by the number of characters read since the zero state.

B batch lane, T time step, V vocabulary, K characters of context, counted from 1.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from charrnn.data.batches import read_sequences
from charrnn.data.vocabulary import Ids
from charrnn.network.char_rnn import CharRNN, read_chunks

LANES = 64
MAX_CHARACTERS = 50_000  # enough to measure the effective context to within a few characters
WINDOWS_PER_CONTEXT = 2  # a new window starts every K / WINDOWS_PER_CONTEXT characters
MIN_GAIN = 0.01 / math.log(2)  # bits per character; a smaller gain is not visible


class LossByContext(NamedTuple):
    """The loss after k = 1 ... K characters from a zero state, and of the same characters with the state carried over.

    Both are in bits per character.
    """

    reset_K: NDArray[np.floating]
    carried_K: NDArray[np.floating]


def loss_by_context(network: CharRNN, ids: Ids, context: int) -> LossByContext | None:
    """Measure the loss after k = 1 ... `context` characters from a zero state, and with the state carried over.

    Both are means over the same windows of the text. With the state carried over, at least `context` characters were
    read before each window. A short text reduces `context`; returns None if less than 2 would remain.
    """
    lanes = max(1, min(LANES, len(ids) // (4 * context)))
    lane_length = (len(ids) - 1) // lanes
    steps = min(lane_length, MAX_CHARACTERS // lanes)  # read from the beginning of each lane
    context = min(context, steps // 2)
    if context < 2:
        return None
    starts_B = np.arange(lanes) * lane_length
    stride = max(1, context // WINDOWS_PER_CONTEXT)
    carried_TB = _bits(network, ids, starts_B, steps)
    offsets = range(context, steps - context + 1, stride)
    sums_2K = np.zeros((2, context))
    for offset in offsets:
        sums_2K[0] += _bits(network, ids, starts_B + offset, context).mean(axis=1)
        sums_2K[1] += carried_TB[offset : offset + context].mean(axis=1)
    return LossByContext(*(sums_2K / len(offsets)))


def effective_context(loss: LossByContext) -> int | None:
    """Return the number of characters beyond which more context helps by less than MIN_GAIN per character.

    This is the first k whose extra loss over the carried state is below that limit, averaged over the contexts
    k ... 2k - 1 because single contexts are noisy. None if no measured k qualifies. Idea: Khandelwal et al. 2018.
    """
    gains_K = octave_means(loss.reset_K - loss.carried_K) >= MIN_GAIN
    return None if gains_K.all() else int(gains_K.argmin()) + 1


def octave_means(values_K: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the mean over the contexts k ... 2k - 1, for every k from 1 for which all of them were measured."""
    return np.array([values_K[k - 1 : 2 * k - 1].mean() for k in range(1, (len(values_K) + 1) // 2 + 1)])


def max_effective_context(loss: LossByContext) -> int:
    """Return the largest result `effective_context` can give: the last k with all contexts k ... 2k - 1 measured."""
    return (len(loss.reset_K) + 1) // 2


def _bits(network: CharRNN, ids: Ids, starts_B: NDArray[np.int64], steps: int) -> NDArray[np.floating]:
    """Return the loss of every target, in bits, [T, B]; each lane starts at its `starts_B` from a zero state."""
    chunks = [
        nn.functional.cross_entropy(logits_TBV.float().movedim(-1, 1), targets_TB, reduction="none")
        for logits_TBV, targets_TB, _ in read_chunks(network, [read_sequences(ids, starts_B, steps, starts=True)])
    ]
    bits: NDArray[np.floating] = torch.cat(chunks).cpu().numpy().astype(np.float64) / math.log(2)
    return bits
