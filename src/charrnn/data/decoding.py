"""Bytes -> characters, piece by piece: encoding, line ends, normal form; and what to say of bytes that are none."""

import codecs
import io
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal, cast

from charrnn.data.options import TextOptions
from charrnn.data.sources import Source
from charrnn.utils.errors import RequestError

BYTE_ORDER_MARK = "\ufeff"
LIKELY_ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1")
SHOWN_BYTES = 8


def decoded(source: Source, how: TextOptions) -> Iterator[str]:
    """The characters of `source`, without a byte-order mark. `RequestError` names the encoding that would fit."""
    pieces = _characters(source, how)
    form = cast(Literal["NFC", "NFKC"], how.normalize.upper())
    return pieces if how.normalize == "none" else _normalized(pieces, form)


def _characters(source: Source, how: TextOptions) -> Iterator[str]:
    decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder(how.encoding)(how.errors)
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    given, lines, first = 0, 1, True
    for chunk in chain(source.chunks(), [b""]):
        given += len(chunk)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # The decoder keeps the beginning of a character that a chunk cut in two: its object may reach further back.
            offset = given - len(error.object) + error.start
            line = lines + error.object[: error.start].count(b"\n")
            offending = error.object[error.start : min(error.end, error.start + SHOWN_BYTES)].hex(" ")
            what = f"bytes {offending} at offset {offset} (line {line})"
            raise _undecodable(source, how, what, error.object) from error
        except UnicodeError as error:  # UTF-16 without a byte-order mark
            raise _undecodable(source, how, str(error), chunk) from error
        lines += text.count("\n")
        if first and text:
            text, first = text.removeprefix(BYTE_ORDER_MARK), False
        if how.newlines == "lf":
            text = line_ends.decode(text, final=not chunk)
        if text:
            yield text


def _normalized(pieces: Iterable[str], form: Literal["NFC", "NFKC"]) -> Iterator[str]:
    # A piece may end inside a character and its marks; the last ASCII character joins nothing before it.
    waiting = ""
    for piece in pieces:
        text = waiting + piece
        cut = next((place for place in range(len(text) - 1, 0, -1) if text[place].isascii()), 0)
        waiting = text[cut:]
        yield unicodedata.normalize(form, text[:cut])
    yield unicodedata.normalize(form, waiting)


def _undecodable(source: Source, how: TextOptions, what: str, beginning: bytes) -> RequestError:
    others = (name for name in LIKELY_ENCODINGS if name != how.encoding)
    fitting = next((name for name in others if _decodes(source, name, beginning)), None)
    advice = f"write data.encoding={fitting}, or " if fitting else "no usual encoding decodes it; write "
    place = source.file or source.name
    return RequestError(f"{place} is not {how.encoding}: {what}; {advice}data.errors=replace or data.level=byte")


def _decodes(source: Source, encoding: str, beginning: bytes) -> bool:
    """Whether the whole source, or all that is left of one that is read once only, is text in this encoding."""
    # Nearly any bytes are some characters of UTF-16: it takes a mark, or the zeros of plain letters.
    if encoding == "utf-16" and not beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    if encoding in ("utf-16-le", "utf-16-be") and beginning[encoding == "utf-16-le" :: 2].count(0) < len(beginning) / 4:
        return False
    try:
        for _ in codecs.iterdecode(source.chunks() if source.file else [beginning], encoding):
            pass
    except (UnicodeError, RequestError):
        return False
    return True
