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

from charrnn.data.archives import texts_in
from charrnn.data.decoding import decode_source
from charrnn.data.errors import TextError
from charrnn.data.options import TextOptions, unescaped
from charrnn.data.sources import Source
from charrnn.data.vocabulary import UNKNOWN, AnyVocabulary, ByteVocabulary, Vocabulary, code_points, replacement

MAX_LISTED_CHARACTERS = 5


class TextEncoder:
    """Encodes a text: `read` stores its codes in the temporary `file`, and `write` maps them to ids.

    `read` may be called several times, once for each part: the text itself, and its own validation and test texts.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pieces: list[tuple[np.dtype[Any], int]] = []  # type and length of each piece in the file
        self._counts = np.zeros(256, np.int64)
        self._bytes = 0
        self._length = 0
        self.lengths: dict[str, int] = {}  # number of symbols of each part
        self.files: list[tuple[str, int]] = []
        self.marked: dict[str, str] = {}  # the encoding of files whose byte-order mark decided it
        self.outside = 0  # number of characters outside the vocabulary that `write` dropped or replaced
        self.digest = hashlib.sha256()

    def read(self, part: str, sources: list[Source], options: TextOptions) -> None:
        """Read one part of the text, and update `lengths`, `files`, `digest` and the symbol counts."""
        if self.lengths:  # where a part ends belongs to the checksum; no UTF-8 has this byte
            self.digest.update(b"\xff" + part.encode())
        before, separator = self._length, ""
        for source in sources:
            for text in texts_in(source, options):
                self._add(separator.encode() if options.level == "byte" else separator)
                self._read(text, options)
                separator = unescaped(options.separator)
        self.lengths[part] = self._length - before

    def _read(self, source: Source, options: TextOptions) -> None:
        before = self._bytes
        for piece in source.chunks() if options.level == "byte" else decode_source(source, options, self.marked):
            self._add(piece)
        size = self._bytes - before if source.file is None else source.file.stat().st_size
        self.files.append((source.name, size))

    def _add(self, piece: str | bytes) -> None:
        if not piece:
            return
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
        self._length += len(codes)

    def _each_piece(self) -> Iterator[NDArray[np.integer]]:
        self._file.seek(0)
        for dtype, length in self._pieces:
            yield np.frombuffer(self._file.read(length * dtype.itemsize), dtype)

    def vocabulary(self, options: TextOptions, train_symbols: int) -> AnyVocabulary:
        """Return all bytes, or the characters that occur often enough: in all parts, or in the first of the text."""
        if options.level == "byte":
            return ByteVocabulary(utf8=self._is_utf8())
        counts = self._counts
        if options.vocabulary_from == "train":
            counts = np.zeros_like(counts)
            for codes in self._each_piece():
                counts += np.bincount(codes[:train_symbols], minlength=len(counts))
                train_symbols -= min(train_symbols, len(codes))
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

    def write(self, vocabulary: AnyVocabulary, name: str, target: BinaryIO, unknown: str = "error") -> list[int]:
        """Write the ids to `target` and return the symbol counts, [V].

        `unknown` says what happens to characters outside the vocabulary (see `vocabulary.replacement`).
        """
        occurring = np.flatnonzero(self._counts)
        ids = vocabulary.look_up(occurring)
        outside = (ids < 0) | ((ids == vocabulary.unknown) & (occurring != ord(UNKNOWN)))
        if outside.any():
            ids[outside] = self._replaced(vocabulary, occurring[outside], name, unknown)
            self.outside = int(self._counts[occurring[outside]].sum())
        table = np.zeros(len(self._counts), vocabulary.dtype)
        kept = np.zeros(len(self._counts), bool)
        table[occurring], kept[occurring] = np.maximum(ids, 0), ids >= 0
        for codes in self._each_piece():
            if (ids < 0).any():
                codes = codes[kept[codes]]
            if codes.dtype == table.dtype == np.uint8:
                target.write(codes.tobytes().translate(table[:256].tobytes()))
            else:
                target.write(table[codes].tobytes())
        counts = np.zeros(len(vocabulary), np.int64)
        np.add.at(counts, ids[ids >= 0], self._counts[occurring[ids >= 0]])
        result: list[int] = counts.tolist()
        return result

    def _replaced(self, vocabulary: AnyVocabulary, codes: NDArray[np.integer], name: str, unknown: str) -> int:
        """Return the id for these characters outside the vocabulary, -1 to drop them; or raise `TextError`."""
        new = replacement(vocabulary, unknown)
        if new is not None:
            return int(vocabulary.encode(new)[0]) if new else -1
        most_frequent = sorted(codes, key=lambda code: -self._counts[code])[:MAX_LISTED_CHARACTERS]
        shown = ", ".join(f"{chr(c)!r} (U+{c:04X}, {self._counts[c]:,} x)" for c in most_frequent)
        problem = f"{name} has {len(codes)} characters that are not in the vocabulary of {len(vocabulary)}: {shown}"
        advice = "remove them, or train on a text that has them"
        skip = "remove them, or use --unknown skip" + " or --unknown replace" * (unknown == "error")
        raise TextError(problem, advice, skip)
