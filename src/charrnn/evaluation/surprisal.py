"""Where a text surprises a network: the bits that every symbol costs, and what the network expected there.

B batch lane, T time step, V vocabulary, N predicted symbol, K guess.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.data.batches import LaneBatches
from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.network.char_rnn import CHUNK, CharRNN, read_chunks
from charrnn.utils.errors import RequestError

GUESSES = 5
WINDOWS_AT_ONCE = 16  # with CHUNK the bound of the memory for logits, whatever the text's length


@dataclass(frozen=True)
class Surprisal:
    """What a network says of N symbols: the bits that each costs, and the K most likely symbols there, best first."""

    bits_N: NDArray[np.float64]
    guesses_NK: NDArray[np.int64]
    probabilities_NK: NDArray[np.float64]

    @property
    def nats(self) -> float:
        """The sum, as in `evaluation.Score`."""
        return float(self.bits_N.sum()) * math.log(2)


def surprisals(network: CharRNN, ids: Ids, window: int | None = None) -> Surprisal:
    """What every symbol of `ids` but the first costs, -log2 p(x_n | x_0 ... x_{n-1}), and what was expected instead.

    The state is carried from the first symbol to the last, in one lane; with `window` it starts from zero after every
    `window` symbols, as in `evaluation.score_windows` (a last window may be shorter here). Memory: N K, not N V.
    Raises `RequestError` for a text of one symbol, and for a network that predicts no numbers.
    """
    if len(ids) < 2:
        raise RequestError(f"a text to evaluate needs at least 2 characters, got {len(ids)}")
    targets = len(ids) - 1
    window = min(window or targets, targets)
    whole = targets // window
    limits = [*range(0, whole, WINDOWS_AT_ONCE), whole]
    parts = [_read(network, ids[first * window : last * window + 1], last - first) for first, last in pairwise(limits)]
    if whole * window < targets:
        parts.append(_read(network, ids[whole * window :], 1))
    logs_N1, guesses_NK, probabilities_NK = (np.concatenate(part) for part in zip(*parts, strict=True))
    bits_N = (logs_N1[:, 0] / -math.log(2)).astype(np.float64)
    found = Surprisal(bits_N, guesses_NK, probabilities_NK.astype(np.float64))
    if not np.isfinite(found.bits_N).all():
        raise RequestError("the network's predictions are no numbers (NaN or infinite); take another checkpoint")
    return found


def log_probabilities(network: CharRNN, vocabulary: AnyVocabulary, prompt: str, text: str) -> list[float]:
    """log p of every symbol of `text` after the prompt, given all before it, in nats; no temperature, nothing cut.

    p is the network's own softmax. Without a prompt the first symbol is not predicted and has none.
    """
    ids, given = vocabulary.encode(text), len(vocabulary.encode(prompt)) or 1
    if len(ids) <= given:
        return []
    logs: list[float] = (-math.log(2) * surprisals(network, ids).bits_N[given - 1 :]).tolist()
    return logs


def _read(network: CharRNN, ids: Ids, lanes: int) -> list[NDArray[Any]]:
    """log p [N, 1] of the symbols, guesses [N, K], probabilities [N, K]: the text in equal lanes from a zero state."""
    pieces = []
    for logits_TBV, targets_TB, _ in read_chunks(network, LaneBatches(ids, lanes, CHUNK)):
        logs_TBV = logits_TBV.to(torch.promote_types(logits_TBV.dtype, torch.float32)).log_softmax(-1)
        best = logs_TBV.topk(min(GUESSES, logs_TBV.shape[-1]))
        own_TB1 = logs_TBV.gather(-1, targets_TB[..., None])
        pieces.append([found.transpose(0, 1).cpu() for found in (own_TB1, best.indices, best.values.exp())])
    return [torch.cat(piece, dim=1).flatten(0, 1).numpy() for piece in zip(*pieces, strict=True)]
