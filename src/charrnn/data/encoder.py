"""Encode a text of any length as ids, in two passes without a Python loop over characters.

The first pass counts the characters and writes their codes to a temporary file, in the narrowest type that fits. When
all characters are known, the second pass maps the codes to ids.
"""

import codecs
import hashlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.data.decoding import decode_source
from charrnn.data.options import TextOptions
from charrnn.data.sources import Source
from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Vocabulary, code_points
from charrnn.utils.errors import RequestError

MAX_LISTED_CHARACTERS = 5


class TextEncoder:
    """Encodes a text: `read` stores its codes in the temporary `file`, and `write` maps them to ids."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pieces: list[tuple[np.dtype[Any], int]] = []  # type and length of each piece in the file
        self._counts = np.zeros(256, np.int64)
        self._bytes = 0
        self.length = 0  # number of symbols
        self.files: list[tuple[str, int]] = []
        self.digest = hashlib.sha256()

    def read(self, sources: list[Source], options: TextOptions) -> None:
        """Read the text of `sources` and determine `length`, `files`, `digest` and the symbol counts."""
        for source in sources:
            if self.files:
                separator = options.unescaped_separator
                self._add(separator.encode() if options.level == "byte" else separator)
            before = self._bytes
            for piece in source.chunks() if options.level == "byte" else decode_source(source, options):
                self._add(piece)
            size = self._bytes - before if source.file is None else source.file.stat().st_size
            self.files.append((source.name, size))

    def _add(self, piece: str | bytes) -> None:
        raw = piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass")
        self.digest.update(raw)
        self._bytes += len(raw)
        if isinstance(piece, bytes) or piece.isascii():
            codes: NDArray[np.integer] = np.frombuffer(raw, np.uint8)
            in_pairs = np.frombuffer(raw, np.uint16, len(raw) // 2)  # counting byte pairs takes half the time
            pairs = np.bincount(in_pairs, minlength=1 << 16).reshape(256, 256)
            counts = pairs.sum(0) + pairs.sum(1) + np.bincount(codes[len(raw) // 2 * 2 :], minlength=256)
        else:
            codes = code_points(piece)
            codes = codes.astype(np.min_scalar_type(int(codes.max())))
            counts = np.bincount(codes)
        self._counts.resize(max(len(counts), len(self._counts)), refcheck=False)
        self._counts[: len(counts)] += counts
        self._file.write(codes.tobytes())
        self._pieces.append((codes.dtype, len(codes)))
        self.length += len(codes)

    def _each_piece(self) -> Iterator[NDArray[np.integer]]:
        self._file.seek(0)
        for dtype, length in self._pieces:
            yield np.frombuffer(self._file.read(length * dtype.itemsize), dtype)

    def vocabulary(self, options: TextOptions, share: float) -> AnyVocabulary:
        """Return all bytes, or the characters that occur often enough in the first `share` of the text."""
        if options.level == "byte":
            return ByteVocabulary(utf8=self._is_utf8())
        counts = self._counts
        if share < 1:
            remaining = int(share * self.length)
            counts = np.zeros_like(counts)
            for codes in self._each_piece():
                counts += np.bincount(codes[:remaining], minlength=len(counts))
                remaining -= min(remaining, len(codes))
        kept = np.flatnonzero(counts >= options.min_count)
        has_unknown = options.min_count > 1 or options.vocabulary_from == "train"
        return Vocabulary("".join(map(chr, kept)), unknown=has_unknown)

    def _is_utf8(self) -> bool:
        try:
            for _ in codecs.iterdecode((codes.tobytes() for codes in self._each_piece()), "utf-8"):
                pass
        except UnicodeDecodeError:
            return False
        return True

    def write(self, vocabulary: AnyVocabulary, name: str, target: BinaryIO) -> list[int]:
        """Write the ids to `target` and return the symbol counts, [V]; `RequestError` for an unknown character."""
        occurring = np.flatnonzero(self._counts)
        ids = vocabulary.look_up(occurring)
        missing = occurring[ids < 0]
        if len(missing):
            most_frequent = sorted(missing, key=lambda code: -self._counts[code])[:MAX_LISTED_CHARACTERS]
            shown = ", ".join(f"{chr(c)!r} (U+{c:04X}, {self._counts[c]:,} x)" for c in most_frequent)
            raise RequestError(
                f"{name} has {len(missing)} characters that are not in the vocabulary of {len(vocabulary)}: "
                f"{shown}; remove them, or train on a text that has them"
            )
        table = np.zeros(len(self._counts), vocabulary.dtype)
        table[occurring] = ids
        for codes in self._each_piece():
            if codes.dtype == table.dtype == np.uint8:
                target.write(codes.tobytes().translate(table[:256].tobytes()))
            else:
                target.write(table[codes].tobytes())
        counts = np.zeros(len(vocabulary), np.int64)
        np.add.at(counts, ids, self._counts[occurring])
        result: list[int] = counts.tolist()
        return result
