"""How much of a text stands word for word in the training text: what was copied, and what is new.

n symbols in a window. The windows are found by their hashes, and no hash is believed:
what is found is compared symbol by symbol, so the figures are exact.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.evaluation.rolling_hash import HashedText, HashSet, Powers

NGRAM = 10  # about two words: shorter ones are mostly those of the language
PIECE = 1 << 13  # symbols of the training text at once: small arrays, whose memory is used again and again
HELD_OUT = 5  # stretches of the validation part to compare with
SHOWN = 60  # characters of a copied span


@dataclass(frozen=True)
class Span:
    """`length` symbols that a text has from position `start` on, and the training text from `source` on."""

    length: int
    start: int
    source: int


@dataclass(frozen=True)
class Novelty:
    """The longest span of a text that is in the training text, and the share of its n-grams (0 to 1) that are.

    Of several spans as long the first in the training text, and there the first in the text. The share is None for a
    text of fewer than n symbols.
    """

    longest: Span
    copied_ngrams: float | None


def measure_novelty(texts: Sequence[Ids], train: Ids, n: int = NGRAM) -> list[Novelty]:
    """The novelty of each of `texts`, in one pass over `train`, which may lie on a disk.

    Takes time in proportion to len(train) and memory in proportion to the texts.
    """
    longest = max((len(text) for text in texts), default=0)
    piece = max(PIECE, 4 * longest)
    powers = Powers(piece + longest)
    hashed = [HashedText(text, powers) for text in texts]
    spans = [_LongestSpan(text) for text in hashed]
    ngrams = [_SharedWindows(text, n) for text in hashed]
    for start in range(0, len(train), piece):
        # As long as a text beyond the piece, so that whatever begins within it is seen to its end.
        stretch = HashedText(train[start : start + piece + longest], powers)
        for span, shared in zip(spans, ngrams, strict=True):
            span.read(stretch, start)
            shared.read(stretch)
    return [Novelty(span.found, shared.share) for span, shared in zip(spans, ngrams, strict=True)]


class _LongestSpan:
    """The longest span of `text` that was read so far. Looks only for longer ones than it has."""

    def __init__(self, text: HashedText) -> None:
        self.found = Span(0, 0, 0)
        self._text = text
        self._look_for(1)

    def _look_for(self, n: int) -> None:
        self._n = n
        self._hashes = self._text.hashes(n)
        self._wanted = HashSet(self._hashes)

    def read(self, stretch: HashedText, begin: int) -> None:
        while span := self._longer(stretch):
            self.found = Span(span.length, span.start, begin + span.source)
            self._look_for(span.length + 1)

    def _longer(self, stretch: HashedText) -> Span | None:
        hashes = stretch.hashes(self._n)
        for source in self._wanted.positions(hashes):
            for start in np.flatnonzero(self._hashes == hashes[source]):
                length = _common_length(self._text.ids[start:], stretch.ids[source:])
                if length >= self._n:
                    return Span(length, int(start), int(source))
        return None


def _common_length(one: Ids, other: Ids) -> int:
    length = min(len(one), len(other))
    differ = one[:length] != other[:length]
    return int(differ.argmax()) if differ.any() else length


class _SharedWindows:
    """Which windows of n symbols of `text` were read so far. Looks only for those that were not."""

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

    def read(self, stretch: HashedText) -> None:
        at = self._wanted.positions(stretch.hashes(self._n))
        if len(at):  # also windows that only have the same hash as one of the text
            self._found.update(self._window(stretch, start) for start in at)
            left = [window not in self._found for window in self._windows]
            self._wanted = HashSet(self._hashes[left])


def held_out_stretches(validation: Ids, length: int) -> list[Ids]:
    """Up to five stretches of `length` symbols, spread evenly over the validation part; none if it is shorter."""
    count = min(HELD_OUT, len(validation) // max(1, length))
    starts = np.linspace(0, len(validation) - length, count).astype(np.int64)
    return [validation[start : start + length] for start in starts]


def describe_novelty(texts: Sequence[Ids], train: Ids, validation: Ids, vocabulary: AnyVocabulary) -> str:
    """Two lines for a reader: the novelty of texts, and what is normal, that of held-out text as long as the longest.

    The figures of several texts are medians.
    """
    held_out = held_out_stretches(validation, max(map(len, texts)))
    measured = measure_novelty([*texts, *held_out], train)
    ours, theirs = measured[: len(texts)], measured[len(texts) :]
    best = max(range(len(texts)), key=lambda i: ours[i].longest.length)
    span = ours[best].longest
    copy = vocabulary.decode(texts[best][span.start : span.start + span.length])
    copy = copy if len(copy) <= SHOWN else copy[:SHOWN] + "..."
    normal = _figures(theirs, vocabulary) if theirs else "nothing to compare with, the validation part is shorter"
    return f"copied    {_figures(ours, vocabulary)}; the longest: {copy!r}\nheld out  {normal}"


def _figures(measured: Sequence[Novelty], vocabulary: AnyVocabulary) -> str:
    unit = "bytes" if vocabulary.level == "byte" else "characters"
    length = statistics.median(novelty.longest.length for novelty in measured)
    shares = [novelty.copied_ngrams for novelty in measured if novelty.copied_ngrams is not None]
    share = f", {statistics.median(shares):.1%} of the {NGRAM}-grams" if shares else ""
    return f"{length:g} {unit} in a row{share}"
