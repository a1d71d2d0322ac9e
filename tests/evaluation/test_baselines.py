import math
from collections import Counter

import numpy as np
import pytest

from charrnn.data.vocabulary import ByteVocabulary, Vocabulary
from charrnn.evaluation.baselines import baseline_scores, ngram_nats


def witten_bell(train: str, text: str, symbols: int, order: int) -> float:
    """Compute the formula directly, one symbol at a time."""
    nats = 0.0
    for i, c in enumerate(text):
        p = 1 / symbols
        for n in range(min(order, i + 1)):
            h = text[i - n : i]
            followers = Counter(train[j] for j in range(n, len(train)) if train[j - n : j] == h)
            if followers:
                p = (followers[c] + len(followers) * p) / (followers.total() + len(followers))
        nats -= math.log(p)
    return nats


@pytest.mark.parametrize(("train", "text"), [("abracadabra", "cabbacad"), ("aaa", "ab"), ("ab", "ccc"), ("a", "b")])
def test_ngram_nats_equal_the_formula(train: str, text: str) -> None:
    vocabulary = Vocabulary("abcdrx")
    nats = ngram_nats(vocabulary.encode(train), vocabulary.encode(text), len(vocabulary), 3)
    assert nats == pytest.approx([witten_bell(train, text, len(vocabulary), order) for order in (1, 2, 3)])


def test_baselines_with_known_entropy() -> None:
    letters = np.random.default_rng(0).integers(4, size=40_000).astype(np.uint8)
    vocabulary = Vocabulary("abcd")
    scores = baseline_scores(letters[:30_000], letters[30_000:], vocabulary)
    assert scores["unigram"] == pytest.approx(2, abs=0.01)  # four equally likely letters
    assert scores["trigram"] == pytest.approx(2, abs=0.02)
    assert 2 < scores["xz"] < 2.5
    cycle = np.arange(40_000, dtype=np.uint8) % 4
    scores = baseline_scores(cycle[:30_000], cycle[30_000:], vocabulary)
    assert scores["unigram"] == pytest.approx(2, abs=0.01)
    assert scores["trigram"] < 0.01
    assert scores["xz"] < 0.2


def test_baselines_of_bytes_are_per_character() -> None:
    text = "é" * 5000
    ids = np.frombuffer(text.encode(), np.uint8)
    scores = baseline_scores(ids, ids, ByteVocabulary())
    assert scores["unigram"] == pytest.approx(2, abs=0.1)  # two equally likely bytes a character
    assert scores["xz"] < 0.3
