"""Baselines without a network: bits per character of n-gram counts and of the xz compressor.

V symbols.
"""

import lzma
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.data.vocabulary import AnyVocabulary, Ids, count_symbols

# Limits that keep the start of a run short.
MAX_TRAIN_SYMBOLS = 4_000_000
MAX_SCORED_SYMBOLS = 1_000_000


def baseline_scores(train: Ids, validation: Ids, vocabulary: AnyVocabulary) -> dict[str, float]:
    """Return the validation split's bits per character by training counts (`unigram`, `trigram`) and by `xz`."""
    counted, text = np.asarray(train[:MAX_TRAIN_SYMBOLS]), np.asarray(validation[:MAX_SCORED_SYMBOLS])
    characters = max(1, vocabulary.lengths(count_symbols(text, len(vocabulary)))[0])
    nats = ngram_nats(counted, text, len(vocabulary), 3)
    raw = text.tobytes() if vocabulary.level == "byte" else vocabulary.decode(text).encode("utf-8", "surrogatepass")
    return {
        "unigram": nats[0] / math.log(2) / characters,
        "trigram": nats[2] / math.log(2) / characters,
        "xz": 8 * len(lzma.compress(raw)) / characters,
    }


def ngram_nats(train: Ids, text: Ids, symbols: int, order: int) -> list[float]:
    """Return the total surprisal of `text` in nats under n-gram models of `train`, one for each n = 1, 2, ... `order`.

    p_n(c | h) = (count(h c) + kinds(h) p_{n-1}(c | h')) / (count(h) + kinds(h)), where kinds(h) is how many different
    symbols follow h in `train`, h' is h without its oldest symbol, and p_0 = 1 / V. Source: Witten and Bell 1991.
    """
    p: NDArray[np.float64] = np.full(len(text), 1 / symbols)
    nats = []
    for n in range(order):
        # The first n symbols have fewer than n before them: they keep the prediction from the shorter history.
        histories = _histories(text, n, symbols)
        pairs, pair_counts = np.unique(_histories(train, n, symbols) * symbols + train[n:], return_counts=True)
        contexts, indices, kinds = np.unique(pairs // symbols, return_inverse=True, return_counts=True)
        totals = np.bincount(indices, pair_counts)
        count = _look_up(pairs, pair_counts, histories * symbols + text[n:])
        kind, total = _look_up(contexts, kinds, histories), _look_up(contexts, totals, histories)
        known = total > 0
        p[n:] = np.where(known, (count + kind * p[n:]) / np.maximum(total + kind, 1), p[n:])
        nats.append(float(-np.log(p).sum()))
    return nats


def _histories(ids: Ids, n: int, symbols: int) -> NDArray[np.int64]:
    """Encode the n symbols before each position, from position n on, as one integer."""
    count = max(0, len(ids) - n)
    return sum((ids[k : k + count] * np.int64(symbols**k) for k in range(n)), np.zeros(count, np.int64))


def _look_up(keys: NDArray[np.int64], values: NDArray[Any], queries: NDArray[np.int64]) -> NDArray[Any]:
    """Return the value of each query among the sorted, non-negative keys; 0 if it is missing."""
    indices = np.searchsorted(keys, queries)
    return np.where(np.append(keys, -1)[indices] == queries, np.append(values, 0)[indices], 0)
