import gzip
import hashlib
import io
import os
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data import corpus, encoder
from charrnn.data.corpus import Corpus, read_corpus
from charrnn.data.vocabulary import Vocabulary, count_symbols
from charrnn.utils.errors import RequestError
from charrnn.utils.files import cache_folder
from conftest import text_options

RAW = "one\r\ntwo\n\x00three é 😀".encode()


def text_of(read: Corpus) -> str:
    return read.vocabulary.decode(read.ids)


def from_stdin(raw: bytes, vocabulary: Vocabulary | None = None, **changes: Any) -> Corpus:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(raw)))
        return read_corpus(text_options("-", **changes), vocabulary=vocabulary)


def test_a_text_is_the_same_plain_compressed_and_piped(tmp_path: Path) -> None:
    file, compressed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    file.write_bytes(RAW)
    compressed.write_bytes(gzip.compress(RAW))
    found = [read_corpus(text_options(file)), read_corpus(text_options(compressed)), from_stdin(RAW)]
    for read in found:
        assert text_of(read) == RAW.decode()
        assert read.sha256 == hashlib.sha256(RAW).hexdigest()
        assert read.counts == count_symbols(read.ids, len(read.vocabulary)).tolist()
    sizes = [("a.txt", len(RAW)), ("a.txt.gz", compressed.stat().st_size), ("stdin", len(RAW))]
    assert [read.files for read in found] == [[size] for size in sizes]


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_is_decoded_unchanged(text: str) -> None:
    text = "." + text
    assert text_of(from_stdin(text.encode())) == text
    assert from_stdin(text.encode(), level="byte").ids.tobytes() == text.encode()


def test_a_text_read_in_small_chunks_of_several_widths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.data.sources.CHUNK_BYTES", 5)
    text = "plain ascii, then é, then 語, then 😀, and ascii again"
    read = from_stdin(text.encode())
    assert text_of(read) == text
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 300))) + text
    read = from_stdin(many.encode())
    assert read.ids.dtype == np.uint16
    assert text_of(read) == many


def test_files_are_joined_by_the_separator(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("bé")
    (tmp_path / "a.txt").write_text("a")
    assert text_of(read_corpus(text_options(tmp_path))) == "a\nbé"
    assert text_of(read_corpus(text_options(tmp_path, separator="\\n--\\n"))) == "a\n--\nbé"
    assert read_corpus(text_options(tmp_path, level="byte", separator="")).ids.tobytes() == "abé".encode()
    assert read_corpus(text_options(tmp_path, level="byte", separator="—")).ids.tobytes() == "a—bé".encode()
    assert read_corpus(text_options(tmp_path)).name == "a.txt and 1 more"


def test_rare_symbols_and_those_missing_in_training_become_unknown(tmp_path: Path) -> None:
    read = from_stdin(b"aabbbc", min_count=2)
    assert text_of(read) == "aabbb\ufffd"
    assert read.counts == [2, 3, 1]
    assert len(from_stdin(b"aabbbb", min_count=2).vocabulary) == 3  # with the unknown symbol, for other texts
    file = tmp_path / "a.txt"
    file.write_text("abababab語cd")
    read = read_corpus(text_options(file, vocabulary_from="train"), train_share=0.8)
    assert text_of(read) == "abababab\ufffd\ufffd\ufffd"
    assert text_of(read_corpus(text_options(file), train_share=0.8)) == "abababab語cd"


def test_a_text_read_with_a_given_vocabulary() -> None:
    with pytest.raises(RequestError, match="stdin is empty; use another text"):
        from_stdin(b"\xef\xbb\xbf")  # only a byte-order mark
    raw = "cabé語語".encode()
    with pytest.raises(RequestError, match=r"not in the vocabulary of 3: '語' \(U\+8A9E, 2 x\), 'é' \(U\+00E9, 1 x\)"):
        from_stdin(raw, vocabulary=Vocabulary("abc"))
    assert from_stdin(raw, vocabulary=Vocabulary("abc", unknown=True)).ids.tolist() == [2, 0, 1, 3, 3, 3]


def test_a_text_is_encoded_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # its files are cut below
    file = tmp_path / "a.txt"
    file.write_text("first")
    first = read_corpus(text_options(file))
    with monkeypatch.context() as patch:
        patch.setattr(encoder.TextEncoder, "read", lambda *_: pytest.fail("the cache was not used"))
        assert text_of(read_corpus(text_options(file))) == "first"
    assert read_corpus(text_options(file, level="byte")).ids.tobytes() == b"first"  # another cache entry
    state = file.stat()
    file.write_text("again")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert text_of(read_corpus(text_options(file))) == "again"
    assert text_of(first) == "first"  # its memory map stays valid

    for cached in cache_folder().glob("*.ids"):
        cached.write_bytes(cached.read_bytes()[:-9])
    assert text_of(read_corpus(text_options(file))) == "again"


def test_a_text_can_be_read_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "a.txt"
    file.write_text("abc")
    assert text_of(read_corpus(text_options(file))) == "abc"


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # other tests write into the common one
    file = tmp_path / "a.txt"
    file.write_text("abc")
    monkeypatch.setattr(corpus, "append_metadata", mock.Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(RequestError, match="can't be cached in .*No space left on device; free some space"):
        read_corpus(text_options(file))
    assert list(cache_folder().iterdir()) == []
