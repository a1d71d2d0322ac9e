"""Symbols <-> ids: the characters of a text, or the 256 bytes. V symbols."""

import codecs
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.utils.errors import RequestError

Ids = NDArray[np.unsignedinteger]
UNKNOWN = "\ufffd"  # Unicode's own sign for a character that could not be represented
COUNTED_AT_ONCE = 1 << 22


class Vocabulary:
    """The sorted distinct characters of a text; a character's id is its place among them.

    With `unknown` there is one more symbol, U+FFFD, and every other character is encoded as that.
    """

    level = "char"

    def __init__(self, characters: str, *, unknown: bool = False) -> None:
        self._codes = np.unique(code_points(characters + UNKNOWN * unknown))
        if not len(self._codes):
            raise RequestError("a vocabulary needs at least one character, got an empty text")
        self.characters = _text(self._codes)
        self.unknown = self.characters.index(UNKNOWN) if unknown else None
        # One more entry than the largest code point, so that larger ones can be clipped to one that is not there.
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
        """Plain values from which `vocabulary_of` makes it again."""
        return {"level": self.level, "characters": self.characters, "unknown": self.unknown is not None}

    @property
    def starts(self) -> NDArray[np.integer]:
        """The ids with which a text may begin."""
        ids = np.arange(len(self))
        return ids if self.unknown is None or len(self) == 1 else np.delete(ids, self.unknown)

    def encode(self, text: str) -> Ids:
        """The ids of `text`, one per character; `RequestError` names the first character that is not there."""
        ids = self.look_up(code_points(text))
        if (ids < 0).any():
            position = int((ids < 0).argmax())
            character = f"character {text[position]!r} (U+{ord(text[position]):04X}) at position {position}"
            advice = "leave it out, or train on a text that has it"
            raise RequestError(f"{character} is not in the vocabulary of {len(self)} characters; {advice}")
        return ids.astype(self.dtype)

    def look_up(self, codes: NDArray[np.integer]) -> NDArray[np.int32]:
        """The ids of code points; -1 for one that is not there."""
        return self._ids.take(codes, mode="clip")

    def decode(self, ids: object) -> str:
        """The text of `ids` (any sequence or array of integers 0 <= id < len(self)); `IndexError` outside."""
        return _text(self._codes[self._checked(ids)])

    def _checked(self, ids: object) -> NDArray[np.int64]:
        indices = np.asarray(ids, dtype=np.int64).reshape(-1)
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"ids must lie in 0 ... {len(self) - 1}, got {indices.min()} ... {indices.max()}")
        return indices

    def decoder(self) -> Callable[[int], str]:
        """A function for ids that come one by one: the text that became complete with each."""
        return self.characters.__getitem__

    def lengths(self, counts: NDArray[np.int64]) -> tuple[int, int | None]:
        """How many characters a text with these counts of symbols [V] has, and how many bytes in UTF-8, if known."""
        if self.unknown is not None and counts[self.unknown]:
            return int(counts.sum()), None
        return int(counts.sum()), int(counts @ utf8_sizes(self._codes))


class ByteVocabulary(Vocabulary):
    """The 256 values of a byte, which are their own ids: any file, in any encoding or none.

    Figures per character are per character of UTF-8, or with `utf8` false, where there are none, per byte.
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
        return np.array([10, *range(32, 127)])  # the beginning of a UTF-8 text is no continuation byte

    def encode(self, text: str) -> Ids:
        """The bytes of `text` in UTF-8."""
        return np.frombuffer(text.encode("utf-8", "surrogateescape"), dtype=np.uint8)

    def decode(self, ids: object) -> str:
        """The text of the bytes as UTF-8, U+FFFD where they are none; `IndexError` outside 0 ... 255."""
        return self._checked(ids).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def decoder(self) -> Callable[[int], str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda byte: decoder.decode(bytes([byte]))

    def lengths(self, counts: NDArray[np.int64]) -> tuple[int, int | None]:
        size = int(counts.sum())  # continuing bytes begin no character
        return size - int(counts[0x80:0xC0].sum()) if self.utf8 else size, size


AnyVocabulary = Vocabulary


def vocabulary_of(settings: dict[str, Any]) -> AnyVocabulary:
    """The vocabulary with these `settings`; `ValueError`, `KeyError` or `TypeError` if they are none."""
    if settings["level"] == "byte":
        return ByteVocabulary(utf8=settings["utf8"])
    if not isinstance(settings["characters"], str):
        raise TypeError(f"characters must be a text, got {type(settings['characters']).__name__}")
    return Vocabulary(settings["characters"], unknown=settings["unknown"])


def count_symbols(ids: Ids, symbols: int) -> NDArray[np.int64]:
    """How often each id occurs, [V]; reads `ids` piece by piece, since they may lie on a disk."""
    counts = np.zeros(symbols, dtype=np.int64)
    for start in range(0, len(ids), COUNTED_AT_ONCE):
        counts += np.bincount(ids[start : start + COUNTED_AT_ONCE], minlength=symbols)
    return counts


def code_points(text: str) -> NDArray[np.uint32]:
    """The code points of the characters of `text`."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def utf8_sizes(codes: NDArray[np.uint32]) -> NDArray[np.int64]:
    """How many bytes each of these code points has in UTF-8."""
    return 1 + np.searchsorted([0x80, 0x800, 0x10000], codes, side="right")


def _text(codes: NDArray[np.uint32]) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
