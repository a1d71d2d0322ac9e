"""Novelty of a text: how much of it is copied verbatim from the training text.

n symbols in a window. Windows are found by their hashes, then compared symbol by symbol, so the results are exact.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.evaluation.rolling_hash import HashedText, HashSet, Powers

NGRAM = 10  # about two words: shorter n-grams are mostly common to all texts of a language
CHUNK_SYMBOLS = 1 << 13  # the training text is read in chunks so small that the arrays' memory is reused
HELD_OUT_EXCERPTS = 5
MAX_QUOTED_CHARACTERS = 60


@dataclass(frozen=True)
class Span:
    """A copied span: `length` symbols from `start` on in a text equal those from `source` on in the training text."""

    length: int
    start: int
    source: int


@dataclass(frozen=True)
class Novelty:
    """The longest copied span of a text, and the share (0 to 1) of its n-grams that occur in the training text.

    Of several longest spans, it is the first in the training text, and of these the first in the text. The share is
    None for a text of fewer than n symbols.
    """

    longest: Span
    copied_ngrams: float | None


def measure_novelty(texts: Sequence[Ids], train: Ids, n: int = NGRAM) -> list[Novelty]:
    """Return the novelty of each text, in one pass over `train`, which may be memory-mapped.

    The time is proportional to len(train), the memory to the length of the texts.
    """
    longest = max((len(text) for text in texts), default=0)
    chunk_size = max(CHUNK_SYMBOLS, 4 * longest)
    powers = Powers(chunk_size + longest)
    hashed = [HashedText(text, powers) for text in texts]
    spans = [_LongestSpan(text) for text in hashed]
    ngrams = [_SharedWindows(text, n) for text in hashed]
    for start in range(0, len(train), chunk_size):
        # Chunks overlap by the longest text, so that each span lies within one chunk.
        chunk = HashedText(train[start : start + chunk_size + longest], powers)
        for span, shared in zip(spans, ngrams, strict=True):
            span.read(chunk, start)
            shared.read(chunk)
    return [Novelty(span.found, shared.share) for span, shared in zip(spans, ngrams, strict=True)]


class _LongestSpan:
    """Finds the longest copied span of `text`, chunk by chunk; it searches only for longer spans than it has."""

    def __init__(self, text: HashedText) -> None:
        self.found = Span(0, 0, 0)
        self._text = text
        self._search_for(1)

    def _search_for(self, n: int) -> None:
        self._n = n
        self._hashes = self._text.hashes(n)
        self._wanted = HashSet(self._hashes)

    def read(self, chunk: HashedText, offset: int) -> None:
        while span := self._find_longer(chunk):
            self.found = Span(span.length, span.start, offset + span.source)
            self._search_for(span.length + 1)

    def _find_longer(self, chunk: HashedText) -> Span | None:
        hashes = chunk.hashes(self._n)
        for source in self._wanted.positions(hashes):
            for start in np.flatnonzero(self._hashes == hashes[source]):
                length = _common_length(self._text.ids[start:], chunk.ids[source:])
                if length >= self._n:
                    return Span(length, int(start), int(source))
        return None


def _common_length(one: Ids, other: Ids) -> int:
    length = min(len(one), len(other))
    differ = one[:length] != other[:length]
    return int(differ.argmax()) if differ.any() else length


class _SharedWindows:
    """Finds which windows of n symbols of `text` occur in the chunks; it searches only for those not found yet."""

    def __init__(self, text: HashedText, n: int) -> None:
        self._n = n
        self._hashes = text.hashes(n)
        self._windows = [self._window(text, start) for start in range(len(self._hashes))]
        self._found: set[bytes] = set()
        self._wanted = HashSet(self._hashes)

    def _window(self, text: HashedText, start: int) -> bytes:
        return text.ids[start : start + self._n].astype(np.uint32).tobytes()

    @property
    def share(self) -> float | None:
        return sum(window in self._found for window in self._windows) / len(self._windows) if self._windows else None

    def read(self, chunk: HashedText) -> None:
        positions = self._wanted.positions(chunk.hashes(self._n))
        if len(positions):  # may include other windows with the same hash, which `share` does not count
            self._found.update(self._window(chunk, start) for start in positions)
            missing = [window not in self._found for window in self._windows]
            self._wanted = HashSet(self._hashes[missing])


def held_out_excerpts(validation: Ids, length: int) -> list[Ids]:
    """Return up to HELD_OUT_EXCERPTS excerpts of `length` symbols, spread evenly; none if the split is shorter."""
    count = min(HELD_OUT_EXCERPTS, len(validation) // max(1, length))
    starts = np.linspace(0, len(validation) - length, count).astype(np.int64)
    return [validation[start : start + length] for start in starts]


def describe_novelty(texts: Sequence[Ids], train: Ids, validation: Ids, vocabulary: AnyVocabulary) -> str:
    """Return two lines: the novelty of the texts, and as a reference that of held-out text as long as the longest.

    The values of several texts are medians.
    """
    held_out = held_out_excerpts(validation, max(map(len, texts)))
    measured = measure_novelty([*texts, *held_out], train)
    ours, reference = measured[: len(texts)], measured[len(texts) :]
    longest = max(range(len(texts)), key=lambda i: ours[i].longest.length)
    span = ours[longest].longest
    copy = vocabulary.decode(texts[longest][span.start : span.start + span.length])
    copy = copy if len(copy) <= MAX_QUOTED_CHARACTERS else copy[:MAX_QUOTED_CHARACTERS] + "..."
    normal = _format(reference, vocabulary) if reference else "not available: the validation split is shorter"
    return f"copied    {_format(ours, vocabulary)}; the longest: {copy!r}\nheld out  {normal}"


def _format(measured: Sequence[Novelty], vocabulary: AnyVocabulary) -> str:
    unit = "bytes" if vocabulary.level == "byte" else "characters"
    length = statistics.median(novelty.longest.length for novelty in measured)
    shares = [novelty.copied_ngrams for novelty in measured if novelty.copied_ngrams is not None]
    share = f", {statistics.median(shares):.1%} of the {NGRAM}-grams" if shares else ""
    return f"{length:g} {unit} in a row{share}"
