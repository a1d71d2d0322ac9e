"""Read a text as an array of ids. It is encoded once, cached on disk and memory-mapped, so it may exceed memory."""

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from charrnn.data.encoder import TextEncoder
from charrnn.data.memmap import append_metadata, open_ids
from charrnn.data.options import TextOptions
from charrnn.data.sources import Source, find_sources
from charrnn.data.vocabulary import AnyVocabulary, Ids, vocabulary_of
from charrnn.utils.errors import RequestError
from charrnn.utils.files import atomic_write, cache_folder

log = logging.getLogger(__name__)

STALE_SECONDS = 86_400
CACHE_VERSION = 3  # part of the cache key: raise it when the format changes, or the way in which files are read
MAX_LISTED_FILES = 3
TEXT = "text"  # the part of a corpus that `path` names
NO_TEXTS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class Corpus:
    """A text as ids, [n], with its vocabulary and the number of occurrences of each symbol (`counts`, [V]).

    `files` has the name and size in bytes of each input file. `sha256` is that of the text in UTF-8 (level=byte: of the
    bytes). `rereadable` is false for a pipe. `parts` are the ids of the text itself (TEXT) and of the splits that have
    a text of their own; together they are `ids`. `outside`: how many characters outside the vocabulary were dropped or
    replaced.
    """

    name: str
    files: list[tuple[str, int]]
    ids: Ids = field(repr=False)
    vocabulary: AnyVocabulary
    counts: list[int]
    sha256: str
    rereadable: bool
    parts: dict[str, Ids] = field(repr=False)
    outside: int


def read_corpus(
    options: TextOptions,
    train_share: float = 1.0,
    vocabulary: AnyVocabulary | None = None,
    *,
    own_texts: Mapping[str, object] = NO_TEXTS,
    unknown: str = "error",
) -> Corpus:
    """Return the text of `options`, from the cache if possible.

    `own_texts` are the paths of the splits that have a text of their own. Without `vocabulary`, one is built from all
    parts, or from the first `train_share` of the text itself if `vocabulary_from=train`. With one, `unknown` says what
    happens to other characters.
    """
    parts = _find_parts(options, own_texts)
    sources = [source for found in parts.values() for source in found]
    share = train_share if options.vocabulary_from == "train" else 1.0
    key_settings = {
        "version": CACHE_VERSION,
        **{key: value for key, value in asdict(options).items() if key != "path"},
        "share": share,
        "vocabulary": None if vocabulary is None else vocabulary.settings,
        "unknown": unknown,
    }
    fingerprints = [source.fingerprint() for source in sources]
    rereadable = None not in fingerprints
    paths = {part: [str(source.file or source.name) for source in listed] for part, listed in parts.items()}
    key = hashlib.sha256(json.dumps([key_settings, paths]).encode()).hexdigest()[:16]
    name = _name_of(parts[TEXT])
    cached = cache_folder() / f"{key}.ids"
    found = open_ids(cached) if rereadable else None
    if found is None or found[1]["fingerprints"] != fingerprints:
        folder = cached.parent if rereadable and _is_writable(cached.parent) else None
        try:
            with (
                atomic_write(cached) if folder else tempfile.TemporaryFile() as target,
                tempfile.TemporaryFile(dir=folder) as codes,
            ):
                encoder = TextEncoder(codes)
                for part, part_sources in parts.items():
                    encoder.read(part, part_sources, options)
                    if not encoder.lengths[part]:
                        raise RequestError(f"{_name_of(part_sources)} is empty; use another text")
                vocabulary = vocabulary or encoder.vocabulary(options, int(share * encoder.lengths[TEXT]))
                metadata: dict[str, Any] = {"fingerprints": fingerprints, "files": encoder.files}
                metadata |= {"sha256": encoder.digest.hexdigest(), "vocabulary": vocabulary.settings}
                metadata["counts"] = encoder.write(vocabulary, name, target, unknown)
                metadata |= {"lengths": encoder.lengths, "marked": encoder.marked, "outside": encoder.outside}
                found = append_metadata(target, metadata, vocabulary.dtype)
        except OSError as error:
            problem = f"the text can't be cached in {error.filename or cached.parent}: {error.strerror}"
            raise RequestError(f"{problem}; free some space, or set XDG_CACHE_HOME to another folder") from error
    ids, metadata = found
    _report_marks(metadata["marked"])
    ends = np.cumsum(list(metadata["lengths"].values()))[:-1]
    return Corpus(
        name,
        [(file, size) for file, size in metadata["files"]],
        ids,
        vocabulary_of(metadata["vocabulary"]),
        metadata["counts"],
        metadata["sha256"],
        rereadable,
        dict(zip(metadata["lengths"], np.split(ids, ends), strict=True)),
        metadata["outside"],
    )


def _find_parts(options: TextOptions, own_texts: Mapping[str, object]) -> dict[str, list[Source]]:
    """Return the sources of the text itself, and of each split with its own text, whose files are held out."""
    own = {split: find_sources(path, options.pattern, None, f"{split}_path") for split, path in own_texts.items()}
    held_out = {source.file.resolve() for sources in own.values() for source in sources if source.file}
    found = find_sources(options.path, options.pattern, options.sha256)
    text = [source for source in found if not held_out or not source.file or source.file.resolve() not in held_out]
    settings = " and ".join(f"data.{split}_path" for split in own)
    if not text:
        raise RequestError(f"data.path has no text besides {settings}; use other files for them")
    once = [source.name for sources in (text, *own.values()) for source in sources if source.file is None]
    if len(set(once)) < len(once):
        raise RequestError(f"data.path and {settings} can't all read {once[0]}; use files")
    if len(text) < len(found):
        log.info("held out  %d files of data.path, which are those of %s", len(found) - len(text), settings)
    return {TEXT: text, **own}


def _name_of(sources: list[Source]) -> str:
    return sources[0].name if len(sources) == 1 else f"{sources[0].name} and {len(sources) - 1} more"


def _report_marks(marked: dict[str, str]) -> None:
    if marked:
        shown = ", ".join(f"{name} as {encoding}" for name, encoding in list(marked.items())[:MAX_LISTED_FILES])
        more = f" and {len(marked) - MAX_LISTED_FILES} more" if len(marked) > MAX_LISTED_FILES else ""
        log.info("encoding  read as their byte-order mark says: %s%s", shown, more)


def _is_writable(folder: Path) -> bool:
    """Return whether texts can be cached in `folder`; also delete temporary files that killed processes left there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        for leftover in folder.glob(".*.tmp"):
            with suppress(FileNotFoundError):  # another process has just renamed it
                if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                    leftover.unlink()
    except OSError as error:
        log.warning("texts can't be cached in %s: %s", folder, error.strerror)
        return False
    return True
