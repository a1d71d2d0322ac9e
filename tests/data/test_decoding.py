import io
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data import sources
from charrnn.data.decoding import decode_source
from charrnn.data.sources import Source, find_sources
from charrnn.utils.errors import RequestError
from conftest import text_options

MARKED = st.text(st.sampled_from("aeé\u0301\u0327\u0323\u1100\u1161\u11a8\uac00ﬁ\u0b47\u0b3e\n語"))


def read(raw: bytes, tmp_path: Path, **changes: Any) -> str:
    file = tmp_path / "a.txt"
    file.write_bytes(raw)
    (source,) = find_sources(str(file), "*", None)
    return "".join(decode_source(source, text_options(file, **changes)))


def in_chunks(raw: bytes, size: int, **changes: Any) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "CHUNK_BYTES", size)
        return "".join(decode_source(Source("chunks", lambda: io.BytesIO(raw)), text_options("-", **changes)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_removed(tmp_path: Path, encoding: str) -> None:
    text = "one\r\ntwo\n\x00three é 😀"
    assert read(text.encode(encoding), tmp_path, encoding=encoding.removesuffix("-sig")) == text


@given(text=MARKED, size=st.integers(1, 5), form=st.sampled_from(["nfc", "nfkc"]))
def test_normal_forms_do_not_depend_on_the_chunks(text: str, size: int, form: Any) -> None:
    assert in_chunks(text.encode(), size, normalize=form) == unicodedata.normalize(form.upper(), text)


@given(text=st.text(st.sampled_from("a\r\né語😀\0")), size=st.integers(1, 5))
def test_line_ends_and_characters_split_between_chunks(text: str, size: int) -> None:
    assert in_chunks(text.encode(), size, newlines="lf") == text.replace("\r\n", "\n").replace("\r", "\n")
    assert in_chunks(text.encode(), size) == text


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"first line\ncaf\xe9 au lait", r"bytes e9 at offset 14 \(line 2\); use data.encoding=cp1252"),
        ("été".encode("utf-16-le"), r"bytes e9 at offset 0 \(line 1\); use data.encoding=utf-16-le"),
        (b"ok\n\n" + bytes(range(256)), "bytes 80 at offset 132 .*use data.encoding=latin-1, or data.errors=replace"),
    ],
)
@pytest.mark.parametrize("chunk", [1 << 22, 3])
def test_the_error_for_undecodable_bytes_has_offset_and_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes, message: str, chunk: int
) -> None:
    monkeypatch.setattr(sources, "CHUNK_BYTES", chunk)
    with pytest.raises(RequestError, match=f"a.txt is not utf-8: {message}") as error:
        read(raw, tmp_path)
    encoding = str(error.value).split("data.encoding=")[1].split()[0].strip(",")
    read(raw, tmp_path, encoding=encoding)  # the advice of the message must work


def test_bytes_that_are_invalid_in_utf_16(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not utf-16: .* does not start with BOM; use data.encoding=utf-8"):
        read(b"abc\x00\x00", tmp_path, encoding="utf-16")
    with pytest.raises(RequestError, match=r"not utf-16: bytes 61 at offset 4 \(line 1\); use data.encoding=cp1252"):
        read(b"\xff\xfeb\x00a", tmp_path, encoding="utf-16")
    assert read(b"a\xffb", tmp_path, errors="replace") == "a\ufffdb"
    assert read(b"a\xffb", tmp_path, errors="ignore") == "ab"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding": "base64"}, "encoding must be a text encoding of Python"),
        ({"encoding": 8}, "encoding must be a text encoding of Python"),
        ({"normalize": "NFC"}, "normalize must be one of none, nfc, nfkc"),
        ({"min_count": 0}, "min_count must be a positive integer"),
        ({"separator": None}, "separator must be a string, got None"),
        ({"level": "byte", "min_count": 2}, "data.min_count=2 needs data.level=char; data.level=byte keeps"),
    ],
)
def test_options_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        text_options("a.txt", **changes)
