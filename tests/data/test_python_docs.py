from pathlib import Path

import pytest

from charrnn.data import python_docs
from charrnn.data.corpus import read_corpus
from charrnn.data.sources import PYTHON_DOCS
from charrnn.utils.files import cache_folder
from conftest import text_options


@pytest.fixture(scope="module")
def docs() -> str:
    """Return the embedded corpus."""
    corpus = read_corpus(text_options(PYTHON_DOCS))
    return corpus.vocabulary.decode(corpus.ids)


def test_the_embedded_corpus(docs: str) -> None:
    assert 1_500_000 < len(docs) < 2_500_000
    assert set(docs) == {"\n", *map(chr, range(32, 127))}
    assert "\n\n" in docs
    assert docs.count("docstring") > 10


def test_it_is_cached_and_a_damaged_file_is_replaced(docs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = cache_folder().glob("python_docs-*")
    with monkeypatch.context() as patch:
        patch.setattr(python_docs, "_documentation", lambda: pytest.fail("the cache was not used"))
        assert python_docs.python_docs() == file
    file.write_bytes(file.read_bytes()[:1000])
    monkeypatch.setattr(python_docs, "_documentation", lambda: iter([docs]))
    python_docs.python_docs()
    assert file.read_text("ascii") == docs


def test_without_a_cache_the_bytes_are_returned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(python_docs, "_documentation", lambda: iter(["one", "two", "one"]))
    assert python_docs.python_docs() == b"one\n\ntwo"
