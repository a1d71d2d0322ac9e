"""Read the texts inside tar and zip archives. No member is written to disk under its own name."""

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import PurePath, PurePosixPath
from typing import BinaryIO, cast

from charrnn.data.download import CHUNK_BYTES, unreadable
from charrnn.data.errors import TextError
from charrnn.data.formats import BEGINNING_BYTES, DAMAGED, ZIP, Kind, decompressed, is_tar, peek, zip_kind
from charrnn.data.options import TextOptions
from charrnn.data.sources import Source, is_hidden, printable_name, select

Members = dict[PurePath, Callable[[], BinaryIO]]
ENCRYPTED_FLAG = 1


def texts_in(source: Source, options: TextOptions) -> Iterator[Source]:
    """Yield the source itself or, if it is an archive, its members that match the pattern, in dictionary order.

    Raises `TextError` for a document that is a zip archive inside, such as .docx, and for a damaged archive; with
    level=byte these are read as they are.
    """
    with ExitStack() as stack:
        members = _members(source, options, stack) if source.file is not None else None
        if members is None:
            yield source
            return
        visible = [path for path in sorted(members) if not any(map(is_hidden, path.parts))]
        for path in select(visible, options.pattern, source.name):
            yield Source(f"{source.name}/{printable_name(path)}", members[path])


def refusal(name: object, kind: Kind) -> TextError:
    """Return the error for a file that is not a text."""
    return TextError(f"{name} is {kind.name}", f"{kind.advice}, or use data.level=byte for its bytes", kind.advice)


def _members(source: Source, options: TextOptions, stack: ExitStack) -> Members | None:
    """Return how to open each file of an archive; None for any other source."""
    try:
        beginning, raw = peek(stack.enter_context(source.open()), BEGINNING_BYTES)
        stream = decompressed(raw)
        tar = is_tar(peek(stream, BEGINNING_BYTES)[0])
    except (OSError, *DAMAGED):  # `Source.chunks` reports it
        return None
    if not tar and not ZIP.match(beginning):
        return None
    try:
        return _tar_members(_seekable(stream, raw, stack), stack) if tar else _zip_members(source, raw, stack)
    except (OSError, *DAMAGED) as error:
        if isinstance(error, OSError) and error.errno is not None:  # a decompressor's error has no errno
            raise unreadable(source.name, error) from error
        problem = refusal(source.file, Kind(f"a damaged archive ({error})", "copy or download it again"))
    except TextError as error:
        problem = error
    if options.level == "char":
        raise problem
    return None


def _zip_members(source: Source, stream: BinaryIO, stack: ExitStack) -> Members:
    archive = stack.enter_context(zipfile.ZipFile(stream))
    kind = _kind_of_zip(archive)
    if kind is not None:
        raise refusal(source.file, kind)
    infos = [info for info in archive.infolist() if not info.is_dir()]
    return {PurePosixPath(info.filename): partial(_open_zipped, archive, info) for info in infos}


def _kind_of_zip(archive: zipfile.ZipFile) -> Kind | None:
    names = archive.namelist()
    if any(info.flag_bits & ENCRYPTED_FLAG for info in archive.infolist()):
        return Kind("an encrypted zip archive", "unpack it first")
    return zip_kind(names, archive.read("mimetype") if "mimetype" in names else b"")


def _open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    return cast(BinaryIO, archive.open(info))


def _seekable(stream: BinaryIO, raw: BinaryIO, stack: ExitStack) -> BinaryIO:
    """Return the stream, decompressed to a nameless file: each step back in a compressed one would read all again."""
    if stream is raw:
        return raw
    file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # closed by the stack
    shutil.copyfileobj(stream, file, CHUNK_BYTES)
    file.seek(0)
    return cast(BinaryIO, file)


def _tar_members(stream: BinaryIO, stack: ExitStack) -> Members:
    archive = stack.enter_context(tarfile.open(fileobj=stream, mode="r:"))  # noqa: SIM115  # closed by the stack
    infos = {PurePosixPath(info.name): info for info in archive.getmembers() if info.isreg() or info.islnk()}
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile ends silently at a broken header
        raise tarfile.ReadError("it ends in the middle")
    return {path: partial(_open_tarred, archive, info) for path, info in infos.items()}


def _open_tarred(archive: tarfile.TarFile, info: tarfile.TarInfo) -> BinaryIO:
    try:
        return cast(BinaryIO, archive.extractfile(info))
    except KeyError as error:  # of a hard link, which is a file of its own, but whose content is another member's
        raise tarfile.ReadError(f"it lacks {info.linkname}") from error
