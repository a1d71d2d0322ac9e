"""Characters -> ids, in two passes over a text of any length, and nothing loops over single characters.

The characters go to a temporary file in the narrowest form that holds them while they are counted; when all are known
they are looked up, and their ids are written.
"""

import codecs
import hashlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.data.decoding import decoded
from charrnn.data.options import TextOptions
from charrnn.data.sources import Source
from charrnn.data.vocabulary import AnyVocabulary, ByteVocabulary, Vocabulary, code_points
from charrnn.utils.errors import RequestError

LISTED = 5  # most frequent unknown characters in a message


class TextEncoder:
    """A text on its way to ids: `read` leaves its codes in `file`, a temporary one, `write` turns them into ids."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pieces: list[tuple[np.dtype[Any], int]] = []  # types and lengths of what is in the file
        self._counts = np.zeros(256, np.int64)
        self._bytes = 0
        self.length = 0  # symbols read
        self.files: list[tuple[str, int]] = []
        self.digest = hashlib.sha256()

    def read(self, sources: list[Source], options: TextOptions) -> None:
        """Take in the text of `sources`: find the symbols' counts, `files` and `digest`."""
        for source in sources:
            if self.files:
                self._add(options.joint.encode() if options.level == "byte" else options.joint)
            before = self._bytes
            for piece in source.chunks() if options.level == "byte" else decoded(source, options):
                self._add(piece)
            size = self._bytes - before if source.file is None else source.file.stat().st_size
            self.files.append((source.name, size))

    def _add(self, piece: str | bytes) -> None:
        raw = piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass")
        self.digest.update(raw)
        self._bytes += len(raw)
        if isinstance(piece, bytes) or piece.isascii():
            codes: NDArray[np.integer] = np.frombuffer(raw, np.uint8)
            in_pairs = np.frombuffer(raw, np.uint16, len(raw) // 2)  # which takes half the time
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
        """All bytes, or the characters of the first `share` of the text that occur often enough."""
        if options.level == "byte":
            return ByteVocabulary(utf8=self._is_utf8())
        counts = self._counts
        if share < 1:
            left = int(share * self.length)
            counts = np.zeros_like(counts)
            for codes in self._each_piece():
                counts += np.bincount(codes[:left], minlength=len(counts))
                left -= min(left, len(codes))
        kept = np.flatnonzero(counts >= options.min_count)
        folds = options.min_count > 1 or options.vocabulary_from == "train"
        return Vocabulary("".join(map(chr, kept)), unknown=folds)

    def _is_utf8(self) -> bool:
        try:
            for _ in codecs.iterdecode((codes.tobytes() for codes in self._each_piece()), "utf-8"):
                pass
        except UnicodeDecodeError:
            return False
        return True

    def write(self, vocabulary: AnyVocabulary, name: str, target: BinaryIO) -> list[int]:
        """Write the ids into `target`; return how often each symbol occurs. `RequestError` if one is missing."""
        occurring = np.flatnonzero(self._counts)
        ids = vocabulary.look_up(occurring)
        missing = occurring[ids < 0]
        if len(missing):
            often = sorted(missing, key=lambda code: -self._counts[code])[:LISTED]
            shown = ", ".join(f"{chr(c)!r} (U+{c:04X}, {self._counts[c]:,} x)" for c in often)
            raise RequestError(
                f"{name} has {len(missing)} characters that are not among the {len(vocabulary)} of the vocabulary: "
                f"{shown}; leave them out, or train on a text that has them"
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
        found: list[int] = counts.tolist()
        return found
