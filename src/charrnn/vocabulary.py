"""Characters <-> ids."""

import numpy as np
from numpy.typing import NDArray

from charrnn.errors import RequestError

UNICODE_SIZE = 0x110000


class Vocabulary:
    """The sorted distinct characters of a text; a character's id is its place among them."""

    def __init__(self, characters: str) -> None:
        codes = _code_points(characters)
        if not len(codes):
            raise RequestError("a vocabulary needs at least one character, got an empty text")
        seen = np.zeros(UNICODE_SIZE, dtype=bool)
        seen[codes] = True
        self._codes = np.flatnonzero(seen).astype(np.uint32)
        self.characters = _text(self._codes)
        # One more entry than the largest code point, so that larger ones can be clipped to "unknown".
        self._ids = np.full(int(self._codes[-1]) + 2, -1, dtype=np.int32)
        self._ids[self._codes] = np.arange(len(self._codes), dtype=np.int32)
        self.dtype = np.min_scalar_type(len(self._codes) - 1)

    def __len__(self) -> int:
        return len(self._codes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r})"

    def encode(self, text: str) -> NDArray[np.unsignedinteger]:
        """The ids of `text`, one per character, in the smallest unsigned type that holds them all.

        Raises `RequestError` with the character, its code point and its position for the first one that is unknown.
        """
        codes = _code_points(text)
        ids = self._ids[np.minimum(codes, len(self._ids) - 1)]
        unknown = np.flatnonzero(ids < 0)
        if len(unknown):
            position = int(unknown[0])
            character = text[position]
            raise RequestError(
                f"character {character!r} (U+{ord(character):04X}) at position {position} is not among the "
                f"{len(self)} characters of the vocabulary; leave it out, or train on a text that has it"
            )
        return ids.astype(self.dtype)

    def decode(self, ids: object) -> str:
        """The text of `ids` (any sequence or array of integers 0 <= id < len(self)); `IndexError` outside."""
        indices = np.asarray(ids, dtype=np.int64).reshape(-1)
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"ids must lie in 0 ... {len(self) - 1}, got {indices.min()} ... {indices.max()}")
        return _text(self._codes[indices])


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _text(codes: NDArray[np.uint32]) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
