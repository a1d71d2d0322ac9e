"""Against brute force: `str.find` of every span."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from charrnn.data.vocabulary import ByteVocabulary, Ids, Vocabulary
from charrnn.evaluation import novelty, rolling_hash
from charrnn.evaluation.novelty import Novelty, Span, describe_novelty, held_out_excerpts, measure_novelty


def ids(text: str) -> Ids:
    return np.frombuffer(text.encode("latin-1"), np.uint8)


def brute_force(text: str, train: str, n: int) -> Novelty:
    """Return the first of the longest spans, by trying all of them."""
    spans = [(j - i, -train.find(text[i:j]), -i) for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    spans = [span for span in spans if span[1] <= 0]
    length, source, start = max(spans, default=(0, 0, 0))
    found = [text[i : i + n] in train for i in range(len(text) - n + 1)]
    return Novelty(Span(length, -start, -source), sum(found) / len(found) if found else None)


def texts(size: int) -> st.SearchStrategy[str]:
    """Generate texts of few letters, with long runs and repetitions, so that many spans match."""
    part = st.text("ab", max_size=6) | st.text("abc", max_size=3).map(lambda part: part * 9) | st.text("\x00a\xff")
    return st.lists(part, max_size=8).map(lambda parts: "".join(parts)[:size])


@pytest.mark.parametrize("base", [rolling_hash.BASE, 1, 3, 1 << 63 | 1])
@settings(max_examples=60, deadline=None)
@given(several=st.lists(texts(25), min_size=1, max_size=3), train=texts(120), n=st.integers(1, 12))
@example(several=["aaaaaaaaaaab"], train="aabaaabaaaabaaaaab" * 3, n=3)
@example(several=["abc"], train="", n=2)
@example(several=[""], train="abc", n=1)
def test_it_equals_brute_force(several: list[str], train: str, n: int, base: int) -> None:
    """With base 1 a hash is the sum of the symbols, so `ab` and `ba` collide: the result must still be exact."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rolling_hash, "BASE", base)
        patch.setattr(novelty, "CHUNK_SYMBOLS", 7)  # so that most spans cross a chunk boundary
        measured = measure_novelty([ids(text) for text in several], ids(train), n)
    assert measured == [brute_force(text, train, n) for text in several]


def test_a_copy_within_a_long_text_of_wide_symbols_is_found() -> None:
    draws = np.random.default_rng(0)
    train = draws.integers(100_000, size=300_000).astype(np.uint32)
    text = draws.integers(100_000, size=5_000)  # another dtype than the training text
    text[700:900] = train[131_000:131_200]
    text[3000:3150] = train[:150]
    (measured,) = measure_novelty([text], train)
    assert measured.longest == Span(200, 700, 131_000)
    assert measured.copied_ngrams == pytest.approx((191 + 141) / 4991)


@pytest.mark.parametrize(
    ("text", "train"),
    [("a" * 3000 + "b", "a" * 200_000), ("a" * 900, "".join("a" * k + "b" for k in range(600)))],
)
def test_repetitive_texts_are_not_slow(text: str, train: str) -> None:
    """The number of equal pairs of windows is the product of both lengths: comparing them all would take minutes."""
    (measured,) = measure_novelty([ids(text)], ids(train))
    assert measured.longest.length == max(n for n in (599, 3000) if text[:n] in train)


def test_the_training_text_is_read_in_chunks() -> None:
    class Mapped(np.ndarray):
        """An array that records the longest slice read from it."""

        longest = 0

        def __getitem__(self, place: Any) -> Any:
            piece = super().__getitem__(place).view(np.ndarray)
            Mapped.longest = max(Mapped.longest, len(piece))
            return piece

    train = np.random.default_rng(0).integers(9, size=500_000).astype(np.uint8)
    measured = measure_novelty([train[400_000:400_300]], train.view(Mapped))
    assert measured == [Novelty(Span(300, 0, 400_000), 1.0)]
    assert 0 < Mapped.longest < 10_000


def test_describe_novelty() -> None:
    train = "the quick brown fox jumps over the lazy dog, and the quick brown cat does not; "
    vocabulary = Vocabulary(train)

    def lines(several: Sequence[str], validation: str) -> list[str]:
        ids = [vocabulary.encode(text) for text in (*several, train, validation)]
        return describe_novelty(ids[:-2], ids[-2], ids[-1], vocabulary).splitlines()

    ours, normal = lines(["a quick brown fox jumps on", "dog"], "the brown dog jumps over the quick cat")
    assert ours == "copied    13.5 characters in a row, 88.2% of the 10-grams; the longest: ' quick brown fox jumps o'"
    assert normal.startswith("held out  ")
    assert [int(held[0]) for held in held_out_excerpts(np.arange(100, dtype=np.uint8), 10)] == [0, 22, 45, 67, 90]
    ours, normal = lines([train], "the dog")
    assert ours.endswith("'the quick brown fox jumps over the lazy dog, and the quick b...'")
    assert normal == "held out  not available: the validation split is shorter"
    assert " bytes in a row" in describe_novelty([ids("abc")], ids("abd"), ids("xyzxyz"), ByteVocabulary())
