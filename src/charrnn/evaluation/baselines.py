"""What needs no network: bits per character of symbol counts and of a packer, as lines to compare a curve with.

V symbols.
"""

import lzma
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.data.vocabulary import AnyVocabulary, Ids, count_symbols

TRAINED_ON = 4_000_000  # symbols of the training part that are counted
SCORED = 1_000_000  # characters of the validation part that are predicted


def baseline_scores(train: Ids, validation: Ids, vocabulary: AnyVocabulary) -> dict[str, float]:
    """Bits per character of the validation part: `unigram` and `trigram` by counts of the training part, `xz`."""
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
    p: NDArray[np.float64] = np.full(len(text), 1 / symbols)
    nats = []
    for n in range(order):
        # The first n symbols have no whole history: they keep the shorter one's prediction.
        asked = _histories(text, n, symbols)
        pairs, pair_counts = np.unique(_histories(train, n, symbols) * symbols + train[n:], return_counts=True)
        contexts, places, kinds = np.unique(pairs // symbols, return_inverse=True, return_counts=True)
        totals = np.bincount(places, pair_counts)
        count = _found(pairs, pair_counts, asked * symbols + text[n:])
        kind, total = _found(contexts, kinds, asked), _found(contexts, totals, asked)
        known = total > 0
        p[n:] = np.where(known, (count + kind * p[n:]) / np.maximum(total + kind, 1), p[n:])
        nats.append(float(-np.log(p).sum()))
    return nats


def _histories(ids: Ids, n: int, symbols: int) -> NDArray[np.int64]:
    """The n symbols before each one from the n-th on, as one number."""
    count = max(0, len(ids) - n)
    return sum((ids[k : k + count] * np.int64(symbols**k) for k in range(n)), np.zeros(count, np.int64))


def _found(keys: NDArray[np.int64], values: NDArray[Any], wanted: NDArray[np.int64]) -> NDArray[Any]:
    """The value of each wanted key, 0 where it is not among the sorted keys, which are not negative."""
    places = np.searchsorted(keys, wanted)
    return np.where(np.append(keys, -1)[places] == wanted, np.append(values, 0)[places], 0)
