"""A text as a long array of ids: found in the cache, or encoded and put there, and mapped, never held as a whole."""

import hashlib
import json
import logging
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from charrnn.data.encoder import TextEncoder
from charrnn.data.memmap import append_note, open_ids
from charrnn.data.options import TextOptions
from charrnn.data.sources import find_sources
from charrnn.data.vocabulary import AnyVocabulary, Ids, vocabulary_of
from charrnn.utils.errors import RequestError
from charrnn.utils.files import atomic_write, cache_folder

log = logging.getLogger(__name__)

A_DAY = 86_400  # seconds
CACHE_VERSION = 2  # of what is written; another one is not found


@dataclass(frozen=True)
class Corpus:
    """A text as ids, [n], and what is known of it: `sha256` is that of the text in UTF-8 (level=byte: the bytes).

    `files`: name and bytes of what was read. `counts`: how often each symbol occurs, [V]. `lasts`: it can be read
    again, which a pipe can't.
    """

    name: str
    files: list[tuple[str, int]]
    ids: Ids = field(repr=False)
    vocabulary: AnyVocabulary
    counts: list[int]
    sha256: str
    lasts: bool


def read_corpus(options: TextOptions, train_share: float = 1.0, vocabulary: AnyVocabulary | None = None) -> Corpus:
    """The text of `options`, from the cache if it is there.

    Its vocabulary is `vocabulary` if given, else made of its first `train_share` with `vocabulary_from=train`, else of
    all of it.
    """
    sources = find_sources(options.path, options.pattern, options.sha256)
    share = train_share if options.vocabulary_from == "train" else 1.0
    about = {
        "version": CACHE_VERSION,
        **{key: value for key, value in asdict(options).items() if key not in ("path", "pattern")},
        "share": share,
        "vocabulary": None if vocabulary is None else vocabulary.settings,
    }
    prints = [source.fingerprint() for source in sources]
    lasts = None not in prints
    places = [source.name if mark is None else mark[0] for source, mark in zip(sources, prints, strict=True)]
    key = hashlib.sha256(json.dumps([about, places]).encode()).hexdigest()[:16]
    name = sources[0].name if len(sources) == 1 else f"{sources[0].name} and {len(sources) - 1} more"
    cached = cache_folder() / f"{key}.ids"
    found = open_ids(cached) if lasts else None
    if found is None or found[1]["fingerprints"] != prints:
        folder = cached.parent if lasts and _can_keep(cached.parent) else None
        try:
            with (
                atomic_write(cached) if folder else tempfile.TemporaryFile() as target,
                tempfile.TemporaryFile(dir=folder) as codes,
            ):
                encoder = TextEncoder(codes)
                encoder.read(sources, options)
                if not encoder.length:
                    raise RequestError(f"{name} is empty; name another text")
                vocabulary = vocabulary or encoder.vocabulary(options, share)
                note: dict[str, Any] = {"fingerprints": prints, "files": encoder.files}
                note |= {"sha256": encoder.digest.hexdigest(), "vocabulary": vocabulary.settings}
                note["counts"] = encoder.write(vocabulary, name, target)
                found = append_note(target, note, vocabulary.dtype)
        except OSError as error:
            trouble = f"the text can't be kept in {error.filename or cached.parent}: {error.strerror}"
            raise RequestError(f"{trouble}; make room there, or set XDG_CACHE_HOME to another folder") from error
    ids, note = found
    files = [(file, size) for file, size in note["files"]]
    return Corpus(name, files, ids, vocabulary_of(note["vocabulary"]), note["counts"], note["sha256"], lasts)


def _can_keep(folder: Path) -> bool:
    """Whether texts can be cached in `folder`. Clears away what killed processes left half written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        for torn in folder.glob(".*.tmp"):
            if time.time() - torn.stat().st_mtime > A_DAY:
                torn.unlink(missing_ok=True)
    except OSError as error:
        log.warning("texts can't be cached in %s: %s", folder, error.strerror)
        return False
    return True
