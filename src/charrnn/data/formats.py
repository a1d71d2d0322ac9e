"""Recognize by its first bytes what a file is: a compressed text, an archive, or something that is not a text.

Names don't count: a `.txt` may be compressed, and a `.gz` may be plain text.
"""

import bz2
import gzip
import io
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple, cast

BEGINNING_BYTES = 1024  # enough for every kind below
COMPRESSIONS: dict[str, tuple[bytes, Callable[..., Any]]] = {
    ".gz": (rb"\x1f\x8b\x08", gzip.open),
    ".bz2": (rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", bz2.open),
    ".xz": (rb"\xfd7zXZ\0", lzma.open),
}
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError)
ZIP = re.compile(rb"PK(?:\x03\x04|\x05\x06)")
WEB_PAGE = re.compile(rb"\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)


class Kind(NamedTuple):
    """A kind of file that is not a text, and what a user can do about it."""

    name: str
    advice: str


UNPACK = "unpack it first"
NAME = "name the archive itself as the text, or unpack it first"  # it came through a pipe or inside another archive
PANDOC = "convert it to text first, for example with pandoc -t plain"
OFFICE = "convert it to text first, for example with soffice --headless --convert-to txt:Text"
OTHER = "use a text file"
PAGE = Kind("a web page (HTML)", "convert it to text first, for example with html2text, or use the URL of a plain text")
KINDS = [
    (re.compile(start, re.DOTALL), Kind(name, advice))
    for start, name, advice in (
        (rb"%PDF-", "a PDF file", "convert it to text first, for example with pdftotext"),
        (rb"\{\\rtf", "an RTF document", OFFICE),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Microsoft Office document", OFFICE),
        (rb".{60}BOOKMOBI", "a Kindle book", "convert it to text first, for example with ebook-convert"),
        (rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|BM.{4}\0{4}|II\*\0|MM\0\*|RIFF.{4}WEBP", "an image", OTHER),
        (rb"ID3[\x02-\x04]|OggS\0|fLaC\0|RIFF.{4}(?:WAVE|AVI )|\0\0\0.ftyp|\x1aE\xdf\xa3", "audio or video", OTHER),
        (rb"SQLite format 3\0", "an SQLite database", "export its text first, for example with sqlite3 FILE .dump"),
        (rb"\x80[\x02-\x05]", "a Python pickle", "save its text as a text file first"),
        (rb"\x93NUMPY", "a NumPy array", "save its text as a text file first"),
        (rb"PAR1[\0-\x1f]|ARROW1\0|\x89HDF\r\n", "a table in a binary format", "save its text column as a text file"),
        (rb".{4}\0{4}\{\"|GGUF.\0", "a file of weights", OTHER),
        (rb"\x7fELF|MZ\x90\0|\xcf\xfa\xed\xfe|\xca\xfe\xba\xbe", "a program", OTHER),
        (rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07", "a 7z or RAR archive", UNPACK),
        (rb"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it first with zstd -d"),
        (rb"\x04\x22\x4d\x18", "compressed with lz4", "decompress it first with lz4 -d"),
        (rb"version https://git-lfs\.github\.com/", "a Git LFS pointer, not the text", "fetch it with git lfs pull"),
        (ZIP.pattern, "a zip archive", NAME),
        *((start, "a compressed file inside another", "decompress it first") for start, _ in COMPRESSIONS.values()),
    )
]
TAR = Kind("a tar archive", NAME)


def kind_of(beginning: bytes) -> Kind | None:
    """Return what a file with these first bytes is, if it is known not to be a text."""
    found = next((kind for start, kind in KINDS if start.match(beginning)), None)
    return found or (TAR if is_tar(beginning) else None)


def is_web_page(beginning: bytes) -> bool:
    """Return whether these are the first bytes of an HTML page, also as UTF-16 and with a byte-order mark."""
    return WEB_PAGE.match(re.sub(rb"\0|^\xef\xbb\xbf|^\xff\xfe|^\xfe\xff", b"", beginning)) is not None


def is_tar(beginning: bytes) -> bool:
    """Return whether these are the first bytes of a tar archive, whose header has a checksum."""
    try:
        tarfile.TarInfo.frombuf(beginning[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def zip_kind(names: Sequence[str], mimetype: bytes) -> Kind | None:
    """Return what a zip archive with these members is, if it is not an archive of files but a document or the like."""
    tops = {name.split("/")[0] for name in names}
    if b"epub" in mimetype or b"opendocument" in mimetype:
        return Kind("an EPUB book" if b"epub" in mimetype else "an OpenDocument file", PANDOC)
    if "[Content_Types].xml" in names:
        kinds = {"word": ("a Word document", PANDOC), "xl": ("an Excel workbook", "export it as CSV first")}
        return Kind(*next((kinds[top] for top in kinds if top in tops), ("a Microsoft Office document", OFFICE)))
    if any(name.endswith(".iwa") for name in names):
        return Kind("an Apple Pages, Numbers or Keynote document", "export it as text first")
    if any(name.endswith("/data.pkl") for name in names):
        return Kind("a PyTorch checkpoint", OTHER)
    if names and all(name.endswith(".npy") for name in names):
        return Kind("a file of NumPy arrays", "save its text as a text file first")
    return Kind("a Java program", OTHER) if "META-INF/MANIFEST.MF" in names else None


def peek(stream: BinaryIO, count: int) -> tuple[bytes, BinaryIO]:
    """Return the first `count` bytes of a stream, and a stream that still has them."""
    beginning = stream.read(count)
    if stream.seekable():
        stream.seek(-len(beginning), os.SEEK_CUR)
        return beginning, stream
    return beginning, cast(BinaryIO, io.BufferedReader(_Rejoined(beginning, stream)))


def decompressed(stream: BinaryIO) -> BinaryIO:
    """Return the stream, decompressed if its first bytes are those of a compressed file."""
    beginning, stream = peek(stream, BEGINNING_BYTES)
    openers = (opener for start, opener in COMPRESSIONS.values() if re.match(start, beginning))
    opener = next(openers, None)
    return stream if opener is None else cast(BinaryIO, opener(stream))


class _Rejoined(io.RawIOBase):
    """The bytes already read from a pipe, followed by the rest of it."""

    def __init__(self, beginning: bytes, rest: BinaryIO) -> None:
        self._beginning, self._rest = beginning, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._beginning[: len(buffer)] or self._rest.read(len(buffer))
        self._beginning = self._beginning[len(chunk) :]
        buffer[: len(chunk)] = chunk
        return len(chunk)
