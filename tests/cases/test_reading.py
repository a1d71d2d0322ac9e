"""What users ran into when a text was read: archives, other kinds of files, encodings, folders, own splits."""

import bz2
import codecs
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.data.corpus import Corpus, read_corpus
from charrnn.data.datamodule import CharDataModule
from charrnn.data.options import options_of, unescaped
from charrnn.data.splits import read_split
from charrnn.utils.errors import RequestError
from conftest import TEXT, call, text_options, train_here

TINY = (
    "data=text", "model.hidden=4", "data.batch_size=2", "data.sequence_length=4", "threads=1", "trainer.max_steps=2",
    "trainer.accelerator=cpu", "trainer.log_every_n_steps=1",
)  # fmt: skip
MEMBERS = {
    "book/chapter2.txt": b"two",
    "book/chapter10.txt": b"ten",
    "book/._chapter2.txt": b"\0\5\x16\7",
    "book/notes.md": b"a note",
    "__MACOSX/book/chapter2.txt": b"\0\5\x16\7",
    ".git/description.txt": b"unnamed",
}
READ = "ten\ntwo"


def text_of(corpus: Corpus) -> str:
    return corpus.vocabulary.decode(corpus.ids)


def read(path: Any, **changes: Any) -> str:
    return text_of(read_corpus(text_options(path, **changes)))


def tarred(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


ARCHIVES: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "a.tar": tarred,
    "a.tar.gz": lambda members: tarred(members, "w:gz"),
    "a.tgz.txt": lambda members: tarred(members, "w:gz"),  # its name does not count
    "a.tar.bz2": lambda members: tarred(members, "w:bz2"),
    "a.tar.xz": lambda members: tarred(members, "w:xz"),
    "a.zip": zipped,
    "a": zipped,
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_10_the_texts_in_an_archive_are_read(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(ARCHIVES[name](MEMBERS))
    corpus = read_corpus(text_options(file))
    assert text_of(corpus) == READ
    assert corpus.files == [(f"{name}/book/chapter10.txt", 3), (f"{name}/book/chapter2.txt", 3)]
    assert read(file, pattern="*.md") == "a note"
    assert read(file, level="byte") == READ
    assert list(tmp_path.iterdir()) == [file]  # nothing was unpacked
    with pytest.raises(
        RequestError, match=r"no file in .* matches data.pattern=\*.c; the folder has 2 \*.txt, 1 \*.md"
    ):
        read(file, pattern="*.c")


@pytest.mark.parametrize("name", ARCHIVES)
def test_10_members_of_an_archive_can_do_no_harm(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "below"
    folder.mkdir()
    make = ARCHIVES[name]
    (folder / name).write_bytes(make({"../../escaped.txt": b"up", "/tmp/absolute.txt": b"root"}))
    assert sorted(read(folder / name).split("\n")) == ["root", "up"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["below", name])
    (folder / name).write_bytes(make({"inner.txt": zipped({"a.txt": b"deep"})}))
    with pytest.raises(
        RequestError, match="inner.txt is a zip archive; name the archive itself as the text, or unpack it first"
    ):
        read(folder / name)
    whole = make({f"{i}.txt": b"%d" % i * 900 for i in range(9)})
    for end in (len(whole) // 2, len(whole) * 5 // 9):
        (folder / name).write_bytes(whole[:end])
        with pytest.raises(RequestError, match="a damaged archive|corrupt or incomplete"):
            read(folder / name)


def test_10_a_link_or_device_in_a_tar_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind, name in ((tarfile.SYMTYPE, "link.txt"), (tarfile.FIFOTYPE, "pipe.txt"), (tarfile.REGTYPE, "b.txt")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret")
            info.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"read"))
    assert read(tmp_path / "a.tar") == "read"


def test_10_a_hard_link_in_a_tar_is_a_file_of_its_own(tmp_path: Path) -> None:
    for target, expected in (("a.txt", "text\ntext"), ("gone.txt", None)):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            for kind, name in ((tarfile.REGTYPE, "a.txt"), (tarfile.LNKTYPE, "b.txt")):
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.size = kind, target, 4 * (kind == tarfile.REGTYPE)
                archive.addfile(info, io.BytesIO(b"text"))
        if expected is None:
            with pytest.raises(RequestError, match="a.tar/b.txt is corrupt or incomplete .it lacks gone.txt"):
                read(tmp_path / "a.tar")
        else:
            assert read(tmp_path / "a.tar") == expected


def test_10_a_zip_compressed_in_another_way_is_refused(tmp_path: Path) -> None:
    raw = bytearray(zipped({"a.txt": b"abc"}))
    raw[8] = raw[raw.index(b"PK\x01\x02") + 10] = 9  # deflate64, as Windows uses for large files
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(RequestError, match="a.zip/a.txt is corrupt or incomplete .That compression method"):
        read(tmp_path / "a.zip")


def test_10_a_web_page_from_a_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO(b"\n<!doctype HTML><title>404"))
    for url in ("https://example.org/blob/main/book.txt", "https://example.org/page.html", "https://example.org/book"):
        with pytest.raises(RequestError, match="is a web page .HTML.; convert it .* or use the URL of a plain text"):
            read(url)


def test_10_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    raw = bytearray(zipped({"a.txt": b"abc"}))
    raw[6] |= 1  # the flag in the header of the member, and in the directory
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(RequestError, match="a.zip is an encrypted zip archive; unpack it first"):
        read(tmp_path / "a.zip")


PACKED = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("name", PACKED)
def test_10_compression_is_known_by_content(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = PACKED[name](b"packed")
    (tmp_path / "a.txt").write_bytes(packed)
    (tmp_path / "b.txt.gz").write_text("plain")
    (tmp_path / "c.txt.xz").write_bytes(packed)
    assert read(tmp_path) == "packed\nplain\npacked"
    (tmp_path / "a.zip").write_bytes(zipped({"d.txt.gz": packed, "e.txt": b"plain"}))
    assert read(tmp_path / "a.zip") == "packed\nplain"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(Pipe(packed))))  # type: ignore[type-var]
    assert read("-") == "packed"


class Pipe(io.RawIOBase):
    """A stream that gives one byte at a time and can't go back."""

    def __init__(self, content: bytes) -> None:
        self._rest = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[: len(self._rest[:1])] = self._rest[:1]
        taken, self._rest = len(self._rest[:1]), self._rest[1:]
        return taken


KINDS = {
    "a PDF file; convert it to text first, for example with pdftotext": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "an RTF document": rb"{\rtf1\ansi hello}",
    "an old Microsoft Office document": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600),
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(30),
    "an image;": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "audio or video": b"\0\0\0 ftypisom",
    "an SQLite database": b"SQLite format 3\0" + bytes(80),
    "a Python pickle": b"\x80\x04\x95\x10",
    "a table in a binary format": b"PAR1\x15\x04",
    "a NumPy array": b"\x93NUMPY\1\0",
    "a program": b"\x7fELF\2\1\1",
    "a 7z or RAR archive; unpack it first": b"7z\xbc\xaf\x27\x1c\0\4",
    "compressed with zstd; decompress it first with zstd -d": b"\x28\xb5\x2f\xfd\x04\x00",
    "a Git LFS pointer, not the text; fetch it with git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid",
    "a compressed file inside another": gzip.compress(gzip.compress(b"twice")),
    "a Word document": zipped({"[Content_Types].xml": b"<x/>", "word/document.xml": b"<w/>"}),
    "an Excel workbook": zipped({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<w/>"}),
    "a Microsoft Office document": zipped({"[Content_Types].xml": b"<x/>", "ppt/presentation.xml": b"<w/>"}),
    "an OpenDocument file": zipped({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b"<x/>"}),
    "an EPUB book": zipped({"mimetype": b"application/epub+zip", "a.xhtml": b"<html>"}),
    "a PyTorch checkpoint": zipped({"best/data.pkl": b"\x80\2", "best/version": b"3"}),
    "a file of NumPy arrays": zipped({"a.npy": b"\x93NUMPY"}),
    "a web page (HTML)": b"<!DOCTYPE html>\n<html><body>text</body></html>",
    "a web page (HTML); convert it": "\n<!-- saved --><HTML lang=en><p>é".encode("utf-16"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_10_what_is_not_a_text_is_refused_by_kind(kind: str, tmp_path: Path) -> None:
    for name in ("a.txt", "a", "a.pdf"):
        file = tmp_path / name
        file.write_bytes(KINDS[kind])
        for changes in ({}, {"errors": "replace"}, {"encoding": "latin-1"}):
            with pytest.raises(RequestError, match="data.level=byte|data.pattern=") as error:
                read(file, **changes)
            assert str(error.value).startswith(f"{file} is {kind}"), error.value
        # bytes can be learned from any file; only compression is undone
        expected = gzip.decompress(KINDS[kind]) if "compressed file" in kind else KINDS[kind]
        assert read_corpus(text_options(file, level="byte")).ids.tobytes() == expected


def test_10_html_is_source_code_if_the_pattern_says_so(tmp_path: Path) -> None:
    page = "<html><p>one</p></html>"
    for name in ("a.html", "saved.txt"):
        (tmp_path / name).write_text(page)
    assert read(tmp_path, pattern="*.html") == page
    assert read(tmp_path / "a.html", pattern=["*.js", "*.html"]) == page
    with pytest.raises(RequestError, match="saved.txt is a web page"):
        read(tmp_path)
    (tmp_path / "about.txt").write_text("<p>The tag <html> begins a page.")
    assert read(tmp_path / "about.txt").startswith("<p>")


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_10_no_ordinary_text_is_taken_for_another_kind(text: str) -> None:
    from charrnn.data.formats import is_web_page, kind_of

    assert kind_of(("The " + text).encode()) is None
    assert not is_web_page(("The " + text).encode())


MARKED = {
    "utf-8": codecs.BOM_UTF8 + "naïve 😀\n".encode(),
    "utf-16-le": codecs.BOM_UTF16_LE + "naïve 😀\n".encode("utf-16-le"),
    "utf-16-be": codecs.BOM_UTF16_BE + "naïve 😀\n".encode("utf-16-be"),
    "utf-32-le": codecs.BOM_UTF32_LE + "naïve 😀\n".encode("utf-32-le"),
    "utf-32-be": codecs.BOM_UTF32_BE + "naïve 😀\n".encode("utf-32-be"),
}


@pytest.mark.parametrize("name", MARKED)
def test_6_a_byte_order_mark_decides_the_encoding(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_bytes(MARKED[name])
    (tmp_path / "b.txt").write_bytes("plain é".encode())
    for _ in range(2):  # encoded, and from the cache
        caplog.clear()
        with caplog.at_level("INFO", "charrnn"):
            corpus = read_corpus(text_options(tmp_path))
        assert text_of(corpus) == "naïve 😀\n\nplain é"
        assert ("a.txt as utf-" in caplog.text) == (name != "utf-8")
    with pytest.raises(RequestError, match="data.encoding=utf-"):  # another encoding that the user chose holds
        read(tmp_path / "a.txt", encoding="ascii")
    for encoding in ("utf-16", "utf-32"):
        if name.startswith(encoding):
            with pytest.raises(RequestError, match=f"data.encoding={encoding},"):
                read(tmp_path / "a.txt", encoding="ascii")


def test_6_encodings_without_a_mark_are_suggested(tmp_path: Path) -> None:
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        (tmp_path / "a.txt").write_bytes("naïve text ÿ".encode(encoding))
        with pytest.raises(RequestError, match=f"data.encoding={encoding},"):
            read(tmp_path / "a.txt")
        assert read(tmp_path / "a.txt", encoding=encoding) == "naïve text ÿ"


def test_6_files_are_read_in_dictionary_order(tmp_path: Path) -> None:
    for name in ("chapter2.txt", "chapter10.txt", "Z.txt", "chapter1.txt", "a/z.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    expected = "Z.txt\na/z.txt\nchapter1.txt\nchapter10.txt\nchapter2.txt"
    assert read(tmp_path) == expected
    assert read([f"{tmp_path}/chapter2.txt", f"{tmp_path}/chapter10.txt"]) == "chapter2.txt\nchapter10.txt"


def test_11_dot_names_of_a_folder_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / ".hidden"  # the folder itself was named
    for name in ("a.txt", "._a.txt", ".ipynb_checkpoints/a.txt", ".git/a.txt", "__MACOSX/a.txt", "b/.c/d.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    assert read(folder) == "a.txt"
    assert read(f"{folder}/**/*.txt").split("\n").count("._a.txt") == 0
    assert read(folder / "._a.txt") == "._a.txt"
    assert read(folder / ".git") == ".git/a.txt"
    (folder / "a.txt").unlink()
    with pytest.raises(RequestError, match="the folder has no files \\(dot names don't count\\)"):
        read(folder)


def test_29_several_patterns(tmp_path: Path) -> None:
    for name in ("a.c", "a.h", "a.txt", "b.c.gz"):
        (tmp_path / name).write_bytes(gzip.compress(name.encode()) if name.endswith("gz") else name.encode())
    for pattern in (["*.c", "*.h"], ("*.h", "*.c")):
        assert read(tmp_path, pattern=pattern) == "a.c\na.h\nb.c.gz"
    with pytest.raises(RequestError, match=r"matches data.pattern=\[\*.py,\*.js\]; the folder has"):
        read(tmp_path, pattern=["*.py", "*.js"])
    for wrong in ([], [1], "", ".", None, ["*.c", ""]):
        with pytest.raises(RequestError, match="pattern must be a pattern such as"):
            text_options("a", pattern=wrong)


def test_29_evaluate_uses_the_patterns_of_the_run(tmp_path: Path) -> None:
    for name in ("a.c", "b.h"):
        (tmp_path / name).write_text(f"int {name[0]}; " * 200)
    train_here(tmp_path / "run", *TINY, "data.pattern=[*.c,*.h]", path=tmp_path)
    for arguments in (("--split", "test"), ("--text", tmp_path)):
        done = call("scripts/evaluate.py", "--run", tmp_path / "run", *arguments)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def three(tmp_path: Path) -> dict[str, Path]:
    """Texts for training, validation and test, each with a character that no other has."""
    texts = {"train": "abcd" * 100 + "T", "validation": "abc" * 50 + "V", "test": "ab" * 40 + "E"}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    return {name: tmp_path / f"{name}.txt" for name in texts}


def make(files: dict[str, Path], *own: str, **changes: Any) -> CharDataModule:
    paths = {f"{name}_path": str(files[name]) for name in own}
    return CharDataModule(
        **{**TEXT, "path": str(files["train"]), **paths, "sequence_length": 4, "batch_size": 2, **changes}
    )


def test_21_a_split_may_have_its_own_text(three: dict[str, Path]) -> None:
    data = make(three, "validation", "test")
    found = {"train": data.train_ids, "validation": data.validation_ids, "test": data.test_ids}
    for name, ids in found.items():
        assert data.vocabulary.decode(ids) == three[name].read_text()
        assert data.vocabulary.decode(read_split(data.settings, data.vocabulary, name)) == three[name].read_text()
        assert int(data.counts[name].sum()) == len(ids)
    assert data.vocabulary.characters == "ETVabcd"
    assert [name for name, _ in data.corpus.files] == ["train.txt", "validation.txt", "test.txt"]


def test_21_the_other_split_stays_a_fraction(three: dict[str, Path]) -> None:
    data = make(three, "validation", validation_fraction=0.9, test_fraction=0.25)
    sizes = [len(ids) for ids in (data.train_ids, data.validation_ids, data.test_ids)]
    assert sizes == [int(0.75 * 401), 151, 401 - int(0.75 * 401)]
    data = make(three, "test", validation_fraction=0.25, test_fraction=0.0)
    assert [len(ids) for ids in (data.train_ids, data.validation_ids, data.test_ids)] == [300, 101, 81]


def test_21_the_vocabulary_is_that_of_all_texts_or_of_train(three: dict[str, Path]) -> None:
    data = make(three, "validation", "test", vocabulary_from="train")
    assert data.vocabulary.characters == "Tabcd\ufffd"
    assert data.vocabulary.decode(data.validation_ids)[-1] == data.vocabulary.decode(data.test_ids)[-1] == "\ufffd"
    assert make(three, "validation", vocabulary_from="train", test_fraction=0.1).vocabulary.characters == "abcd\ufffd"


def test_21_the_checksum_covers_all_texts_and_their_roles(three: dict[str, Path]) -> None:
    alone = make(three).corpus.sha256
    validation, test = make(three, "validation").corpus.sha256, make({**three, "test": three["validation"]}, "test")
    assert len({alone, validation, test.corpus.sha256}) == 3
    data = make(three, "validation")
    three["validation"].write_text("abcd" * 30)
    with pytest.raises(RequestError, match="has changed since"):
        read_split(data.settings, data.vocabulary, "train")


def test_21_files_of_a_split_are_left_out_of_the_training_folder(three: dict[str, Path], tmp_path: Path) -> None:
    folder = {**three, "train": tmp_path}
    data = make(folder, "validation", "test")
    assert data.vocabulary.decode(data.train_ids) == three["train"].read_text()
    with pytest.raises(RequestError, match="data.path has no text besides data.validation_path"):
        make({**three, "validation": three["train"]}, "validation")


def test_21_wrong_own_texts_are_refused(three: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "short.txt").write_text("a")
    for name, message in (
        ("empty.txt", "empty.txt is empty"),
        ("short.txt", "the validation split has 1 characters but needs at least 2; use a longer data.validation_path"),
        ("gone.txt", "there is no text file .*gone.txt"),
    ):
        with pytest.raises(RequestError, match=message):
            make({**three, "validation": tmp_path / name}, "validation")
    with pytest.raises(RequestError, match="^validation_path must name a text"):
        make(three, validation_path=[])
    with pytest.raises(RequestError, match="data.path and data.test_path can't all read stdin"):
        make(three, path="-", test_path="-")


def test_21_a_run_with_own_texts_is_scored_resumed_and_read_back(three: dict[str, Path], tmp_path: Path) -> None:
    own = [f"data.validation_path={three['validation']}", f"data.test_path={three['test']}", "scheduler=plateau"]
    own += ["data.validation_fraction=0", "data.test_fraction=0"]
    run = tmp_path / "run"
    summary = train_here(run, *TINY, *own, path=three["train"])
    assert summary["vocabulary_size"] == 7
    for split, characters in (("validation", 150), ("test", 80)):
        done = call("scripts/evaluate.py", "--run", run, "--split", split)
        assert f'"characters": {characters},' in done.stdout, done.stderr
    assert "held out" in call("scripts/generate.py", "--run", run, "--length", 5, "--novelty").stderr
    assert f"validation {three['validation']}" in call("scripts/show_checkpoint.py", run).stdout
    assert train_here(run, *TINY, *own, "trainer.max_steps=4", "resume_from=last", path=three["train"])["steps"] == 4
    three["test"].write_text("abcd" * 30)
    with pytest.raises(RequestError, match="was trained on another text"):
        train_here(run, *TINY, *own, "trainer.max_steps=6", "resume_from=last", path=three["train"])


def test_21_paths_are_stored_absolute(three: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = make({name: Path(file.name) for name, file in three.items()}, "validation")
    assert data.settings["validation_path"] == [str(three["validation"])]
    assert data.settings["test_path"] is None
    monkeypatch.chdir("/")
    assert len(read_split(data.settings, data.vocabulary, "validation")) == 151
    old = {key: value for key, value in make(three).settings.items() if not key.endswith("_path")}
    assert len(read_split(old, make(three).vocabulary, "validation")) > 2  # a checkpoint of an earlier version
    assert options_of(old).pattern == "*.txt"


@given(st.text("ab\\nt\n\t"))
def test_26_escapes_can_write_every_text(text: str) -> None:
    typed = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    assert unescaped(typed) == text
    assert unescaped(r"\d \x") == r"\d \x"
