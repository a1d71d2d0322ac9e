"""Surprisal of each symbol of a text, and the symbols that the network expected instead.

B batch lane, T time step, V vocabulary, N predicted symbol, K rank of a guess.
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
WINDOWS_PER_CALL = 16  # limits the memory for logits, together with CHUNK, for texts of any length


@dataclass(frozen=True)
class Surprisal:
    """The surprisal of N symbols in bits, and the K most likely symbols at each position, best first."""

    bits_N: NDArray[np.float64]
    guesses_NK: NDArray[np.int64]
    probabilities_NK: NDArray[np.float64]

    @property
    def nats(self) -> float:
        """The sum in nats, as in `evaluation.scoring.Score`."""
        return float(self.bits_N.sum()) * math.log(2)


def surprisals(network: CharRNN, ids: Ids, window: int | None = None) -> Surprisal:
    """Return -log2 p(x_n | x_0 ... x_{n-1}) of every symbol but the first, and the most likely symbols there.

    The state is carried from the first symbol to the last, in one lane. With `window` it restarts from zero after every
    `window` symbols, as in `scoring.score_windows` (but the last window may be shorter here). Memory: N K, not N V.
    Raises `RequestError` for a text of one symbol, and for a network whose predictions are NaN or infinite.
    """
    if len(ids) < 2:
        raise RequestError(f"a text to evaluate needs at least 2 characters, got {len(ids)}")
    targets = len(ids) - 1
    window = min(window or targets, targets)
    whole = targets // window
    limits = [*range(0, whole, WINDOWS_PER_CALL), whole]
    reads = [_read(network, ids[first * window : last * window + 1], last - first) for first, last in pairwise(limits)]
    if whole * window < targets:
        reads.append(_read(network, ids[whole * window :], 1))
    logs_N1, guesses_NK, probabilities_NK = map(np.concatenate, zip(*reads, strict=True))
    bits_N = (logs_N1[:, 0] / -math.log(2)).astype(np.float64)
    surprisal = Surprisal(bits_N, guesses_NK, probabilities_NK.astype(np.float64))
    if not np.isfinite(surprisal.bits_N).all():
        raise RequestError("the network's predictions are NaN or infinite; use another checkpoint")
    return surprisal


def log_probabilities(network: CharRNN, vocabulary: AnyVocabulary, prompt: str, text: str) -> list[float]:
    """Return log p, in nats, of every symbol of `text` after the prompt, given all symbols before it.

    p is the network's softmax at temperature 1, without top-k, top-p or min-p. Without a prompt, the first symbol is
    not predicted and has no entry.
    """
    ids, prompt_length = vocabulary.encode(text), len(vocabulary.encode(prompt)) or 1
    if len(ids) <= prompt_length:
        return []
    logs: list[float] = (-math.log(2) * surprisals(network, ids).bits_N[prompt_length - 1 :]).tolist()
    return logs


def _read(network: CharRNN, ids: Ids, lanes: int) -> list[NDArray[Any]]:
    """Read `ids` in equal lanes from zero states; return log p [N, 1], guesses [N, K], their probabilities [N, K]."""
    pieces = []
    for logits_TBV, targets_TB, _ in read_chunks(network, LaneBatches(ids, lanes, CHUNK)):
        logs_TBV = logits_TBV.to(torch.promote_types(logits_TBV.dtype, torch.float32)).log_softmax(-1)
        best = logs_TBV.topk(min(GUESSES, logs_TBV.shape[-1]))
        target_logs_TB1 = logs_TBV.gather(-1, targets_TB[..., None])
        pieces.append([values.transpose(0, 1).cpu() for values in (target_logs_TB1, best.indices, best.values.exp())])
    return [torch.cat(piece, dim=1).flatten(0, 1).numpy() for piece in zip(*pieces, strict=True)]
