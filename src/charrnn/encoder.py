"""Characters -> ids, in one pass over a text of any length.

The characters go to the file in the narrowest form that holds them while they are counted; when all are known they are
looked up and ids take their place. Nothing loops over single characters, and nothing is mapped while it is written.
"""

import codecs
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from charrnn.decoding import decoded
from charrnn.errors import RequestError
from charrnn.sources import Source
from charrnn.text_options import TextOptions
from charrnn.vocabulary import AnyVocabulary, ByteVocabulary, Vocabulary

LISTED = 5  # unknown characters in a message


class TextEncoder:
    """A text on its way into `file`: `read` leaves its codes there, `finish` turns them into ids."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._pieces: list[tuple[np.dtype[Any], int]] = []  # types and lengths of what lies in the file
        self._counts = np.zeros(256, np.int64)
        self._bytes = 0
        self._utf8 = _Utf8Check()
        self.files: list[tuple[str, int]] = []
        self.sha256 = ""

    def read(self, sources: list[Source], options: TextOptions) -> None:
        """Take in the text of `sources`: find the symbols' counts, `files` and `sha256`."""
        digest = hashlib.sha256()
        for source in sources:
            if self.files:
                joint = options.joint
                self._add(joint.encode() if options.level == "byte" else joint, digest)
            before = self._bytes
            if options.level == "byte":
                for raw in source.chunks():
                    self._utf8.feed(raw)
                    self._add(raw, digest)
            else:
                for text in decoded(source, options):
                    self._add(text, digest)
            size = source.size()
            self.files.append((source.name, self._bytes - before if size is None else size))
        self.sha256 = digest.hexdigest()

    def _add(self, piece: str | bytes, digest: Any) -> None:
        raw = piece if isinstance(piece, bytes) else piece.encode("utf-8", "surrogatepass")
        digest.update(raw)
        self._bytes += len(raw)
        if isinstance(piece, bytes) or piece.isascii():
            codes: NDArray[np.integer] = np.frombuffer(raw, np.uint8)
            self._counts[:256] += _count_bytes(raw)
        else:
            codes = np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), "<u4")
            codes = codes.astype(np.min_scalar_type(int(codes.max())))
            counts = np.bincount(codes, minlength=len(self._counts))
            counts[: len(self._counts)] += self._counts
            self._counts = counts
        self._file.write(codes.tobytes())
        self._pieces.append((codes.dtype, len(codes)))

    @property
    def length(self) -> int:
        """Symbols read."""
        return sum(length for _, length in self._pieces)

    def _each_piece(self) -> Iterator[NDArray[np.integer]]:
        place = 0
        for dtype, length in self._pieces:
            self._file.seek(place)
            yield np.frombuffer(self._file.read(length * dtype.itemsize), dtype)
            place += length * dtype.itemsize

    def vocabulary(self, options: TextOptions, share: float) -> AnyVocabulary:
        """All bytes, or the characters of the first `share` of the text that occur often enough."""
        if options.level == "byte":
            return ByteVocabulary(utf8=self._utf8.holds())
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

    def finish(self, vocabulary: AnyVocabulary, name: str) -> list[int]:
        """Put ids in the place of the codes; return how often each symbol occurs.

        Raises `RequestError` for characters that the vocabulary lacks.
        """
        occurring = np.flatnonzero(self._counts)
        ids = vocabulary.look_up(occurring)
        missing = occurring[ids < 0]
        if len(missing):
            often = sorted(missing, key=lambda code: -self._counts[code])
            shown = ", ".join(f"{chr(c)!r} (U+{c:04X}, {self._counts[c]:,} x)" for c in often[:LISTED])
            more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
            raise RequestError(
                f"{name} has characters that are not among the {len(vocabulary)} of the vocabulary: {shown}{more}; "
                "leave them out, or train on a text that has them"
            )
        table = np.zeros(len(self._counts), vocabulary.dtype)
        table[occurring] = ids
        self._make_room(table.itemsize)
        place = 0
        for codes in self._each_piece():
            if codes.dtype == np.uint8 and table.dtype == np.uint8:
                ids_of_piece = codes.tobytes().translate(table[:256].tobytes())
            else:
                ids_of_piece = table[codes].tobytes()
            self._file.seek(place)
            place += self._file.write(ids_of_piece)
        self._file.truncate(place)
        counts = np.zeros(len(vocabulary), np.int64)
        np.add.at(counts, ids, self._counts[occurring])
        return [int(count) for count in counts]

    def _make_room(self, width: int) -> None:
        """Widen what is narrower than an id, so that no id is written over a code that was not read yet."""
        if all(dtype.itemsize >= width for dtype, _ in self._pieces):
            return
        with tempfile.TemporaryFile() as old:
            self._file.seek(0)
            shutil.copyfileobj(self._file, old)
            old.seek(0)
            self._file.seek(0)
            for place, (dtype, length) in enumerate(self._pieces):
                codes = np.frombuffer(old.read(length * dtype.itemsize), dtype)
                wide = np.promote_types(dtype, f"u{width}")
                self._file.write(codes.astype(wide).tobytes())
                self._pieces[place] = (wide, length)


class _Utf8Check:
    """Whether bytes that come in pieces are UTF-8."""

    def __init__(self) -> None:
        self._decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()

    def feed(self, raw: bytes, *, last: bool = False) -> None:
        try:
            if self._decoder is not None:
                self._decoder.decode(raw, last)
        except UnicodeDecodeError:
            self._decoder = None

    def holds(self) -> bool:
        self.feed(b"", last=True)
        return self._decoder is not None


def _count_bytes(raw: bytes) -> NDArray[np.int64]:
    """How often each byte occurs: counted in pairs, which takes half the time."""
    pairs = np.bincount(np.frombuffer(raw, np.uint16, len(raw) // 2), minlength=1 << 16).reshape(256, 256)
    counts: NDArray[np.int64] = pairs.sum(0) + pairs.sum(1)
    if len(raw) % 2:
        counts[raw[-1]] += 1
    return counts
