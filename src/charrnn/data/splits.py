"""Split a text into train, validation and test, and recreate the splits of a run without Lightning."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from charrnn.data.corpus import TEXT, Corpus, read_corpus
from charrnn.data.errors import named_by_option, named_by_run
from charrnn.data.options import options_of, require_encoding
from charrnn.data.sources import STDIN
from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.utils.errors import RequestError
from charrnn.utils.validation import SPLITS

MAX_NAMED_FILES = 3
OTHER_TEXT = "use another text or split"


def split(ids: Ids, validation_fraction: float, test_fraction: float) -> dict[str, Ids]:
    """Return the contiguous splits `train`, `validation` and `test`; the last requested one takes the remainder."""
    n = len(ids)
    train = int((1 - validation_fraction - test_fraction) * n) if validation_fraction + test_fraction > 0 else n
    validation = int(validation_fraction * n) if test_fraction > 0 else n - train
    return dict(zip(SPLITS, np.split(ids, [train, train + validation]), strict=True))


def splits_of(corpus: Corpus, validation_fraction: float, test_fraction: float) -> dict[str, Ids]:
    """Return the three splits of a corpus: fractions of the text, and the texts that are validation or test alone."""
    own = {name: corpus.parts[name] for name in SPLITS if name in corpus.parts}
    return split(corpus.parts[TEXT], validation_fraction, test_fraction) | own


class NamedText(NamedTuple):
    """A text to read with a network: its ids, and how many characters outside the vocabulary it had.

    `note` is a line for the user if they count as spaces, which the network was not trained for.
    """

    name: str
    ids: Ids
    skipped: int = 0
    replaced: int = 0
    note: str = ""

    def unknown(self) -> list[tuple[str, int]]:
        """Return what happened to characters outside the vocabulary, and to how many."""
        return [("skipped", self.skipped), ("replaced", self.replaced)]


def named_text(
    settings: dict[str, Any],
    vocabulary: AnyVocabulary,
    text: str | None,
    split_name: str | None,
    encoding: str | None,
    unknown: str = "error",
) -> NamedText:
    """Return `text`, or without it a split (by default validation) of the run's own text.

    The text is read with the options of the run (`settings`), except for `encoding` if given. `unknown` says what
    happens to characters outside the vocabulary.
    """
    options = options_of(settings)
    if text is None:
        split_name = split_name or "validation"
        path = settings.get(f"{split_name}_path") or options.path
        name = ", ".join(Path(part).name for part in path[:MAX_NAMED_FILES])
        advice = "use --text FILE for another text, or another --split"
        return NamedText(f"{name}: {split_name} split", read_split(settings, vocabulary, split_name, advice))
    if encoding is not None:
        require_encoding("--encoding", encoding)
    options = replace(options, path=text, sha256=None, encoding=encoding or options.encoding)
    with named_by_option():
        corpus = read_corpus(options, vocabulary=vocabulary, unknown=unknown)
    outside, note = corpus.outside, ""
    if unknown == "skip":
        return NamedText(corpus.name, corpus.ids, skipped=outside)
    if outside and vocabulary.unknown is None:
        note = f"{outside:,} unknown characters of {corpus.name} became spaces: the vocabulary has no unknown symbol"
    return NamedText(corpus.name, corpus.ids, replaced=outside, note=note)


def read_split(settings: dict[str, Any], vocabulary: AnyVocabulary, split_name: str, advice: str = OTHER_TEXT) -> Ids:
    """Return one split of the text that `CharDataModule.settings` describe.

    Raises `RequestError`, which ends with `advice`, if the text is missing or has changed, or has no such split.
    """
    options = options_of(settings)
    own = own_texts(settings.get("validation_path"), settings.get("test_path"))
    if any(STDIN in path for path in (options.path, *own.values())):
        raise RequestError(f"the run's text came from standard input and was not kept; {advice}")
    with named_by_run(advice):
        corpus = read_corpus(options, settings["train_share"], own_texts=own)
    if corpus.sha256 != settings["corpus_sha256"]:
        raise RequestError(f"{corpus.name} has changed since the run was trained on it; {advice}")
    if corpus.vocabulary != vocabulary:  # that of a run with init_from has more symbols
        corpus = read_corpus(options, settings["train_share"], vocabulary, own_texts=own)
    ids = splits_of(corpus, settings["validation_fraction"], settings["test_fraction"])[split_name]
    if len(ids) < 2:
        raise RequestError(f"the run has no {split_name} split ({len(ids)} characters); {advice}")
    return ids


def own_texts(validation_path: Any, test_path: Any) -> dict[str, Any]:
    """Return the paths of the splits that have a text of their own."""
    paths = {"validation": validation_path, "test": test_path}
    return {name: path for name, path in paths.items() if path is not None}
