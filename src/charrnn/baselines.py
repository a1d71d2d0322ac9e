"""What needs no network: bits per character of symbol counts and of a packer, as lines to compare a curve with.

V symbols.
"""

import lzma
import math

import numpy as np
from numpy.typing import NDArray

from charrnn.vocabulary import AnyVocabulary, Ids, count_symbols

TRAINED_ON = 4_000_000  # symbols of the training part that are counted
SCORED = 1_000_000  # characters of the validation part that are predicted


def reference_figures(train: Ids, validation: Ids, vocabulary: AnyVocabulary) -> dict[str, float]:
    """Bits per character of the validation part, its first million at most: `unigram`, `trigram` and `xz`.

    The counts are those of the first 4 million symbols of the training part.
    """
    seen, text = np.asarray(train[:TRAINED_ON]), np.asarray(validation[:SCORED])
    characters = max(1, vocabulary.lengths(count_symbols(text, len(vocabulary)))[0])
    nats = ngram_nats(seen, text, len(vocabulary), 3)
    raw = text.tobytes() if vocabulary.level == "byte" else vocabulary.decode(text).encode("utf-8", "surrogatepass")
    return {
        "unigram": nats[0] / math.log(2) / characters,
        "trigram": nats[2] / math.log(2) / characters,
        "xz": 8 * len(lzma.compress(raw)) / characters,
    }


def ngram_nats(train: Ids, text: Ids, symbols: int, order: int) -> list[float]:
    """The surprisal of `text` in nats, summed, by counts of 1, 2, ... `order` symbols in `train`.

    p_n(c | h) = (count(h c) + kinds(h) p_{n-1}(c | h')) / (count(h) + kinds(h)), where kinds(h) is how many different
    symbols follow h in `train`, h' is h without its oldest symbol, and p_0 = 1 / V. Source: Witten and Bell 1991.
    """
    text = text.astype(np.int64)
    p: NDArray[np.float64] = np.full(len(text), 1 / symbols)
    nats = []
    history_train = np.zeros(len(train), np.int64)  # symbols before each, as one number
    history_text = np.zeros(len(text), np.int64)
    for n in range(order):
        if n > 0:
            history_train = _longer(history_train, train, n, symbols)
            history_text = _longer(history_text, text, n, symbols)
        # The first n symbols have no whole history: they keep the shorter one's prediction.
        histories, followed = history_train[n:], train[n:].astype(np.int64)
        pairs, pair_counts = np.unique(histories * symbols + followed, return_counts=True)
        contexts, kinds = np.unique(pairs // symbols, return_counts=True)
        before = np.cumsum(kinds) - kinds  # where each context's pairs begin
        totals = np.add.reduceat(pair_counts, before) if len(pairs) else pair_counts
        asked = history_text[n:]
        count = _found(pairs, pair_counts, asked * symbols + text[n:])
        kind, total = _found(contexts, kinds, asked), _found(contexts, totals, asked)
        known = total > 0
        p[n:] = np.where(known, (count + kind * p[n:]) / np.maximum(total + kind, 1), p[n:])
        nats.append(float(-np.log(p).sum()))
    return nats


def _longer(history: NDArray[np.int64], ids: Ids, n: int, symbols: int) -> NDArray[np.int64]:
    """The last n symbols before each position as one number; meaningless for the first n positions."""
    older = np.zeros_like(history)
    older[n:] = ids[: len(ids) - n]
    return history + older * np.int64(symbols ** (n - 1))


def _found(keys: NDArray[np.int64], values: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The value of each wanted key, 0 where it is not among the sorted keys."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: NDArray[np.int64] = np.where(keys[places] == wanted, values[places], 0)
    return found
