"""How much of the past a prediction uses: the loss by the number of characters read since the zero state.

B batch lane, T time step, V vocabulary, K characters of context, from 1 up.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from charrnn.data.batches import read_sequences
from charrnn.data.vocabulary import Ids
from charrnn.network.char_rnn import CharRNN, read_chunks

LANES = 64
CHARACTERS = 50_000  # of a longer text, from its lanes' beginnings: enough to know the number to a few characters
STRIDE = 2  # windows begin every K / STRIDE characters
HELPS = 0.01  # nats per character; less is no visible gain


class LossByContext(NamedTuple):
    """Nats per character after k = 1 ... K characters since the zero state, and of the same ones with state carried."""

    reset_K: NDArray[np.floating]
    carried_K: NDArray[np.floating]


def loss_by_context(network: CharRNN, ids: Ids, context: int) -> LossByContext | None:
    """The loss after k = 1 ... `context` characters from a zero state, and that of the same characters carried on.

    Both are means over windows of the text; carried means that at least `context` characters more were read before.
    None for a text that is too short for `context` of at least 2.
    """
    lanes = max(1, min(LANES, len(ids) // (4 * context)))
    length = (len(ids) - 1) // lanes  # of a lane's own stretch, of which this much is read
    steps = min(length, CHARACTERS // lanes)
    context = min(context, steps // 2)
    if context < 2:
        return None
    starts_B = np.arange(lanes) * length
    stride = max(1, context // STRIDE)
    carried_TB = _nats(network, ids, starts_B, steps)
    offsets = range(context, steps - context + 1, stride)
    sums_2K = np.zeros((2, context))
    for offset in offsets:
        sums_2K[0] += _nats(network, ids, starts_B + offset, context).mean(axis=1)
        sums_2K[1] += carried_TB[offset : offset + context].mean(axis=1)
    return LossByContext(*(sums_2K / len(offsets)))


def effective_context(loss: LossByContext) -> int | None:
    """The number k of characters beyond which more context helps by less than HELPS nats per character.

    The first k at which the contexts k ... 2k - 1 together (single ones are noisy) cost less than that more than the
    state carried. None if it is not within the contexts that were measured. Source: Khandelwal 2018 (the idea).
    """
    helps_K = octave_means(loss.reset_K - loss.carried_K) >= HELPS
    return None if helps_K.all() else int(helps_K.argmin()) + 1


def octave_means(values_K: NDArray[np.floating]) -> NDArray[np.floating]:
    """The mean over the contexts k ... 2k - 1, for each k from 1 with all of these measured."""
    return np.array([values_K[k - 1 : 2 * k - 1].mean() for k in range(1, (len(values_K) + 1) // 2 + 1)])


def largest_answer(loss: LossByContext) -> int:
    """The largest number that `effective_context` can find: the last k with all of k ... 2k - 1 measured."""
    return (len(loss.reset_K) + 1) // 2


def _nats(network: CharRNN, ids: Ids, starts_B: NDArray[np.int64], steps: int) -> NDArray[np.floating]:
    """The surprisal of every target of the lanes that start there from a zero state, [T, B]."""
    pieces = [
        nn.functional.cross_entropy(logits_TBV.float().movedim(-1, 1), targets_TB, reduction="none")
        for logits_TBV, targets_TB, _ in read_chunks(network, [read_sequences(ids, starts_B, steps, starts=True)])
    ]
    nats: NDArray[np.floating] = torch.cat(pieces).cpu().numpy().astype(np.float64)
    return nats
