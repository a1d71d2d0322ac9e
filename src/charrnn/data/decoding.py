"""Decode bytes to characters chunk by chunk: encoding, line ends, Unicode normal form, and errors with advice."""

import codecs
import io
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Literal, cast

from charrnn.data.archives import refusal
from charrnn.data.errors import TextError
from charrnn.data.formats import BEGINNING_BYTES, PAGE, is_web_page, kind_of
from charrnn.data.options import TextOptions
from charrnn.data.sources import Source, matches
from charrnn.utils.errors import RequestError

BYTE_ORDER_MARK = "\ufeff"
DEFAULT_ENCODING = "utf-8"
# That of UTF-32-LE begins with that of UTF-16-LE, so it comes first.
MARKED_ENCODINGS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Almost any bytes are valid UTF-16, so it is suggested only for zero bytes where ASCII letters have them: the offset of
# the first, and the distance to the next.
ZERO_BYTES = {"utf-32-le": (3, 4), "utf-32-be": (0, 4), "utf-16-le": (1, 2), "utf-16-be": (0, 2)}
LIKELY_ENCODINGS = ("utf-8", "utf-32", "utf-16", *ZERO_BYTES, "cp1252", "latin-1")
MAX_SHOWN_BYTES = 8
Form = Literal["NFC", "NFKC"]


def decode_source(source: Source, options: TextOptions, marked: dict[str, str] | None = None) -> Iterator[str]:
    """Yield the characters of `source` without a byte-order mark; `RequestError` suggests an encoding that fits.

    With the default encoding, a byte-order mark says in which one the source is read; if it is not UTF-8, it is noted
    in `marked` under the source's name.
    """
    chunks, head = source.chunks(), list[bytes]()
    while sum(map(len, head)) < BEGINNING_BYTES and (chunk := next(chunks, b"")):
        head.append(chunk)
    beginning = b"".join(head)[:BEGINNING_BYTES]
    _refuse_other_kinds(source, beginning, options)
    encoding = options.encoding
    if codecs.lookup(encoding).name == DEFAULT_ENCODING and (found := _marked_encoding(beginning)):
        encoding = found
        if marked is not None:
            marked[source.name] = found
    pieces = _characters(source, options, chain(head, chunks), encoding)
    yield from pieces if options.normalize == "none" else _normalized(pieces, cast(Form, options.normalize.upper()))


def as_training_text(typed: str, settings: dict[str, Any]) -> str:
    """Return a typed text with the line ends and the normal form of a run's text (`CharDataModule.settings`)."""
    text = settings.get("text", {})
    if text.get("newlines") == "lf":
        typed = io.IncrementalNewlineDecoder(None, translate=True).decode(typed, final=True)
    form = text.get("normalize", "none")
    return typed if form == "none" else unicodedata.normalize(form.upper(), typed)


def _refuse_other_kinds(source: Source, beginning: bytes, options: TextOptions) -> None:
    """Raise `TextError` for a file that is known not to be a text, such as a PDF file.

    Someone may learn HTML as source code: then `data.pattern` says so, and matches a name that is not that of a text.
    """
    name = source.file or source.name
    if (kind := kind_of(beginning)) is not None:
        raise refusal(name, kind)
    if is_web_page(beginning) and (source.name.lower().endswith(".txt") or not matches(source.name, options.pattern)):
        advice = f"{PAGE.advice}; data.pattern=*.html reads the source of pages"
        raise TextError(f"{name} is {PAGE.name}", advice, PAGE.advice)


def _marked_encoding(beginning: bytes) -> str | None:
    return next((name for mark, name in MARKED_ENCODINGS.items() if beginning.startswith(mark)), None)


def _characters(source: Source, options: TextOptions, chunks: Iterable[bytes], encoding: str) -> Iterator[str]:
    decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder(encoding)(options.errors)
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    bytes_read, line_number, first = 0, 1, True
    for chunk in chain(chunks, [b""]):
        bytes_read += len(chunk)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # `error.object` may begin in the previous chunk: the decoder keeps the start of a split character.
            offset = bytes_read - len(error.object) + error.start
            line = line_number + error.object[: error.start].count(b"\n")
            offending = error.object[error.start : min(error.end, error.start + MAX_SHOWN_BYTES)].hex(" ")
            problem = f"bytes {offending} at offset {offset} (line {line})"
            raise _undecodable(source, encoding, problem, error.object) from error
        except UnicodeError as error:  # UTF-16 without a byte-order mark
            raise _undecodable(source, encoding, str(error), chunk) from error
        line_number += text.count("\n")
        if first and text:
            text, first = text.removeprefix(BYTE_ORDER_MARK), False
        if options.newlines == "lf":
            text = line_ends.decode(text, final=not chunk)
        if text:
            yield text


def _normalized(pieces: Iterable[str], form: Form) -> Iterator[str]:
    # A piece may end between a letter and its combining marks. No ASCII character combines with what precedes it, so
    # the text before the last one can be normalized.
    pending = ""
    for piece in pieces:
        text = pending + piece
        cut = next((index for index in range(len(text) - 1, 0, -1) if text[index].isascii()), 0)
        pending = text[cut:]
        yield unicodedata.normalize(form, text[:cut])
    yield unicodedata.normalize(form, pending)


def _undecodable(source: Source, encoding: str, problem: str, beginning: bytes) -> RequestError:
    others = (name for name in LIKELY_ENCODINGS if name != encoding)
    fitting = next((name for name in others if _decodes(source, name, beginning)), None)
    advice = f"use data.encoding={fitting}, or " if fitting else "no common encoding decodes it; use "
    script_advice = f"use --encoding {fitting}" if fitting else "no common encoding decodes it; use another text"
    problem = f"{source.file or source.name} is not {encoding}: {problem}"
    return TextError(problem, f"{advice}data.errors=replace or data.level=byte", script_advice)


def _decodes(source: Source, encoding: str, beginning: bytes) -> bool:
    """Return whether `encoding` decodes the whole source, or only `beginning` if the source cannot be reread."""
    if encoding in MARKED_ENCODINGS.values() and _marked_encoding(beginning) != encoding:
        return False
    if encoding in ZERO_BYTES:
        offset, distance = ZERO_BYTES[encoding]
        if beginning[offset::distance].count(0) < len(beginning) / 2 / distance:
            return False
    try:
        for _ in codecs.iterdecode(source.chunks() if source.file else [beginning], encoding):
            pass
    except (UnicodeError, RequestError):
        return False
    return True
