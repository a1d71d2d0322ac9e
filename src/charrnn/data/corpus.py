"""Read a text as an array of ids. It is encoded once, cached on disk and memory-mapped, so it may exceed memory."""

import hashlib
import json
import logging
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from charrnn.data.encoder import TextEncoder
from charrnn.data.memmap import append_metadata, open_ids
from charrnn.data.options import TextOptions
from charrnn.data.sources import find_sources
from charrnn.data.vocabulary import AnyVocabulary, Ids, vocabulary_of
from charrnn.utils.errors import RequestError
from charrnn.utils.files import atomic_write, cache_folder

log = logging.getLogger(__name__)

STALE_SECONDS = 86_400
CACHE_VERSION = 2  # part of the cache key: raise it when the format changes


@dataclass(frozen=True)
class Corpus:
    """A text as ids, [n], with its vocabulary and the number of occurrences of each symbol (`counts`, [V]).

    `files` has the name and size in bytes of each input file. `sha256` is that of the text in UTF-8 (level=byte: of the
    bytes). `rereadable` is false for a pipe.
    """

    name: str
    files: list[tuple[str, int]]
    ids: Ids = field(repr=False)
    vocabulary: AnyVocabulary
    counts: list[int]
    sha256: str
    rereadable: bool


def read_corpus(options: TextOptions, train_share: float = 1.0, vocabulary: AnyVocabulary | None = None) -> Corpus:
    """Return the text of `options`, from the cache if possible.

    Without `vocabulary`, one is built from the whole text, or from its first `train_share` if `vocabulary_from=train`.
    """
    sources = find_sources(options.path, options.pattern, options.sha256)
    share = train_share if options.vocabulary_from == "train" else 1.0
    key_settings = {
        "version": CACHE_VERSION,
        **{key: value for key, value in asdict(options).items() if key not in ("path", "pattern")},
        "share": share,
        "vocabulary": None if vocabulary is None else vocabulary.settings,
    }
    fingerprints = [source.fingerprint() for source in sources]
    rereadable = None not in fingerprints
    paths = [source.name if source.file is None else str(source.file) for source in sources]
    key = hashlib.sha256(json.dumps([key_settings, paths]).encode()).hexdigest()[:16]
    name = sources[0].name if len(sources) == 1 else f"{sources[0].name} and {len(sources) - 1} more"
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
                encoder.read(sources, options)
                if not encoder.length:
                    raise RequestError(f"{name} is empty; use another text")
                vocabulary = vocabulary or encoder.vocabulary(options, share)
                metadata: dict[str, Any] = {"fingerprints": fingerprints, "files": encoder.files}
                metadata |= {"sha256": encoder.digest.hexdigest(), "vocabulary": vocabulary.settings}
                metadata["counts"] = encoder.write(vocabulary, name, target)
                found = append_metadata(target, metadata, vocabulary.dtype)
        except OSError as error:
            problem = f"the text can't be cached in {error.filename or cached.parent}: {error.strerror}"
            raise RequestError(f"{problem}; free some space, or set XDG_CACHE_HOME to another folder") from error
    ids, metadata = found
    files = [(file, size) for file, size in metadata["files"]]
    vocabulary = vocabulary_of(metadata["vocabulary"])
    return Corpus(name, files, ids, vocabulary, metadata["counts"], metadata["sha256"], rereadable)


def _is_writable(folder: Path) -> bool:
    """Return whether texts can be cached in `folder`; also delete temporary files that killed processes left there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        for leftover in folder.glob(".*.tmp"):
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                leftover.unlink(missing_ok=True)
    except OSError as error:
        log.warning("texts can't be cached in %s: %s", folder, error.strerror)
        return False
    return True
