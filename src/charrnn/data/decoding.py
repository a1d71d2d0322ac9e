"""Decode bytes to characters chunk by chunk: encoding, line ends, Unicode normal form, and errors with advice."""

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
MAX_SHOWN_BYTES = 8


def decode_source(source: Source, options: TextOptions) -> Iterator[str]:
    """Yield the characters of `source` without a byte-order mark; `RequestError` suggests an encoding that fits."""
    pieces = _characters(source, options)
    form = cast(Literal["NFC", "NFKC"], options.normalize.upper())
    return pieces if options.normalize == "none" else _normalized(pieces, form)


def _characters(source: Source, options: TextOptions) -> Iterator[str]:
    decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder(options.encoding)(options.errors)
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    bytes_read, line_number, first = 0, 1, True
    for chunk in chain(source.chunks(), [b""]):
        bytes_read += len(chunk)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # `error.object` may begin in the previous chunk: the decoder keeps the start of a split character.
            offset = bytes_read - len(error.object) + error.start
            line = line_number + error.object[: error.start].count(b"\n")
            offending = error.object[error.start : min(error.end, error.start + MAX_SHOWN_BYTES)].hex(" ")
            problem = f"bytes {offending} at offset {offset} (line {line})"
            raise _undecodable(source, options, problem, error.object) from error
        except UnicodeError as error:  # UTF-16 without a byte-order mark
            raise _undecodable(source, options, str(error), chunk) from error
        line_number += text.count("\n")
        if first and text:
            text, first = text.removeprefix(BYTE_ORDER_MARK), False
        if options.newlines == "lf":
            text = line_ends.decode(text, final=not chunk)
        if text:
            yield text


def _normalized(pieces: Iterable[str], form: Literal["NFC", "NFKC"]) -> Iterator[str]:
    # A piece may end between a letter and its combining marks. No ASCII character combines with what precedes it, so
    # the text before the last one can be normalized.
    pending = ""
    for piece in pieces:
        text = pending + piece
        cut = next((index for index in range(len(text) - 1, 0, -1) if text[index].isascii()), 0)
        pending = text[cut:]
        yield unicodedata.normalize(form, text[:cut])
    yield unicodedata.normalize(form, pending)


def _undecodable(source: Source, options: TextOptions, problem: str, beginning: bytes) -> RequestError:
    others = (name for name in LIKELY_ENCODINGS if name != options.encoding)
    fitting = next((name for name in others if _decodes(source, name, beginning)), None)
    advice = f"use data.encoding={fitting}, or " if fitting else "no common encoding decodes it; use "
    name = source.file or source.name
    return RequestError(f"{name} is not {options.encoding}: {problem}; {advice}data.errors=replace or data.level=byte")


def _decodes(source: Source, encoding: str, beginning: bytes) -> bool:
    """Return whether `encoding` decodes the whole source, or only `beginning` if the source cannot be reread."""
    # Almost any bytes are valid UTF-16, so require a byte-order mark, or the zero bytes of ASCII letters.
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
