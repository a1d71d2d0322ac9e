"""Map symbols to ids and back; the V symbols are the characters of a text, or the 256 bytes."""

import codecs
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_choice

Ids = NDArray[np.unsignedinteger]
UNKNOWN = "\ufffd"  # the replacement character of Unicode
UNKNOWN_ACTIONS = ("error", "skip", "replace")
COUNT_CHUNK_SYMBOLS = 1 << 22


class Vocabulary:
    """The sorted distinct characters of a text; the id of a character is its index.

    With `unknown`, every character outside the vocabulary is encoded as one more symbol, U+FFFD.
    """

    level = "char"

    def __init__(self, characters: str, *, unknown: bool = False) -> None:
        self._codes = np.unique(code_points(characters + UNKNOWN * unknown))
        if not len(self._codes):
            raise RequestError("a vocabulary needs at least one character, got an empty text")
        self.characters = _text(self._codes)
        self.unknown = self.characters.index(UNKNOWN) if unknown else None
        # One entry more than the largest code point: `look_up` clips larger code points to it.
        self._ids = np.full(int(self._codes[-1]) + 2, -1 if self.unknown is None else self.unknown, dtype=np.int32)
        self._ids[self._codes] = np.arange(len(self._codes), dtype=np.int32)
        self.dtype = np.min_scalar_type(len(self._codes) - 1)

    def __len__(self) -> int:
        return len(self._codes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.settings == other.settings

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings})"

    @property
    def settings(self) -> dict[str, Any]:
        """Plain values from which `vocabulary_of` recreates the vocabulary."""
        return {"level": self.level, "characters": self.characters, "unknown": self.unknown is not None}

    @property
    def starts(self) -> NDArray[np.integer]:
        """The ids that a generated text may begin with."""
        ids = np.arange(len(self))
        return ids if self.unknown is None or len(self) == 1 else np.delete(ids, self.unknown)

    def encode(self, text: str) -> Ids:
        """Return the ids of a text, one per character; raise `RequestError` for the first unknown character."""
        ids = self.look_up(code_points(text))
        if (ids < 0).any():
            position = int((ids < 0).argmax())
            character = f"character {text[position]!r} (U+{ord(text[position]):04X}) at position {position}"
            advice = "remove it, or train on a text that has it"
            raise RequestError(f"{character} is not in the vocabulary of {len(self)} characters; {advice}")
        return ids.astype(self.dtype)

    def look_up(self, codes: NDArray[np.integer]) -> NDArray[np.int32]:
        """Return the ids of code points, -1 for those outside the vocabulary."""
        return self._ids.take(codes, mode="clip")

    def decode(self, ids: object) -> str:
        """Return the text of `ids`, any sequence of integers; raise `IndexError` unless 0 <= id < V."""
        return _text(self._codes[self._checked(ids)])

    def _checked(self, ids: object) -> NDArray[np.int64]:
        indices = np.asarray(ids, dtype=np.int64).reshape(-1)
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"ids must be in 0 ... {len(self) - 1}, got {indices.min()} ... {indices.max()}")
        return indices

    def decoder(self) -> Callable[[int], str]:
        """Return a function that takes ids one by one and returns the text that each completes."""
        return self.characters.__getitem__

    def lengths(self, counts: NDArray[np.int64]) -> tuple[int, int | None]:
        """Return the characters and UTF-8 bytes (None if unknown) of a text with these symbol counts, [V]."""
        if self.unknown is not None and counts[self.unknown]:
            return int(counts.sum()), None
        return int(counts.sum()), int(counts @ utf8_sizes(self._codes))


class ByteVocabulary(Vocabulary):
    """The 256 byte values, each its own id: for any file, whatever its encoding.

    `utf8` tells whether the text is valid UTF-8. If it is not, scores per character are scores per byte.
    """

    level = "byte"

    def __init__(self, *, utf8: bool = True) -> None:
        super().__init__("".join(map(chr, range(256))))
        self.utf8 = utf8

    @property
    def settings(self) -> dict[str, Any]:
        return {"level": self.level, "utf8": self.utf8}

    @property
    def starts(self) -> NDArray[np.integer]:
        return np.array(
            [10, *range(32, 127)]
        )  # line end and printable ASCII: a UTF-8 text cannot begin with a continuation byte

    def encode(self, text: str) -> Ids:
        """Return the UTF-8 bytes of a text."""
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)

    def decode(self, ids: object) -> str:
        """Decode bytes as UTF-8, with U+FFFD for invalid ones; raise `IndexError` outside 0 ... 255."""
        return self._checked(ids).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def decoder(self) -> Callable[[int], str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda byte: decoder.decode(bytes([byte]))

    def lengths(self, counts: NDArray[np.int64]) -> tuple[int, int | None]:
        size = int(counts.sum())  # continuation bytes do not begin a character
        return size - int(counts[0x80:0xC0].sum()) if self.utf8 else size, size


AnyVocabulary = Vocabulary


def vocabulary_of(settings: dict[str, Any]) -> AnyVocabulary:
    """Return the vocabulary with these `settings`; invalid ones raise `ValueError`, `KeyError` or `TypeError`."""
    if settings["level"] == "byte":
        return ByteVocabulary(utf8=settings["utf8"])
    if not isinstance(settings["characters"], str):
        raise TypeError(f"characters must be a string, got {type(settings['characters']).__name__}")
    return Vocabulary(settings["characters"], unknown=settings["unknown"])


def replacement(vocabulary: AnyVocabulary, action: str) -> str | None:
    """Return what stands for a character outside the vocabulary: "" for `skip`, or None if such a text is refused.

    For `replace` it is the unknown symbol, or a space in a vocabulary without one. A vocabulary with an unknown symbol
    replaces with `error` too: it was trained to.
    """
    if require_choice("unknown", action, UNKNOWN_ACTIONS) == "skip":
        return ""
    if vocabulary.unknown is not None:
        return UNKNOWN
    return " " if action == "replace" and " " in vocabulary.characters else None


def count_symbols(ids: Ids, symbols: int) -> NDArray[np.int64]:
    """Count the occurrences of each id, [V], in chunks, because `ids` may be mapped from disk."""
    counts = np.zeros(symbols, dtype=np.int64)
    for start in range(0, len(ids), COUNT_CHUNK_SYMBOLS):
        counts += np.bincount(ids[start : start + COUNT_CHUNK_SYMBOLS], minlength=symbols)
    return counts


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the code points of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def utf8_sizes(codes: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Return the number of UTF-8 bytes of each code point."""
    return 1 + np.searchsorted([0x80, 0x800, 0x10000], codes, side="right")


def _text(codes: NDArray[np.uint32]) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
