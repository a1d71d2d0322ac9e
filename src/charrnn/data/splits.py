"""Split a text into train, validation and test, and recreate the splits of a run without Lightning."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.data.corpus import read_corpus
from charrnn.data.options import options_of
from charrnn.data.sources import STDIN
from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.utils.errors import RequestError
from charrnn.utils.validation import SPLITS

MAX_NAMED_FILES = 3


def split(ids: Ids, validation_fraction: float, test_fraction: float) -> dict[str, Ids]:
    """Return the contiguous splits `train`, `validation` and `test`; the last requested one takes the remainder."""
    n = len(ids)
    train = int((1 - validation_fraction - test_fraction) * n) if validation_fraction + test_fraction > 0 else n
    validation = int(validation_fraction * n) if test_fraction > 0 else n - train
    return dict(zip(SPLITS, np.split(ids, [train, train + validation]), strict=True))


def named_text(
    settings: dict[str, Any], vocabulary: AnyVocabulary, text: str | None, split_name: str | None, encoding: str | None
) -> tuple[str, Ids]:
    """Return the name and the ids of `text`, or without it those of a split of the run's own text.

    The text is read with the options of the run (`settings`), except for `encoding` if given. The default split is
    validation.
    """
    options = options_of(settings)
    if text is None:
        split_name = split_name or "validation"
        names = [Path(path).name for path in options.path]
        return f"{', '.join(names[:MAX_NAMED_FILES])}: {split_name} split", read_split(settings, vocabulary, split_name)
    options = replace(options, path=text, sha256=None, encoding=encoding or options.encoding)
    corpus = read_corpus(options, vocabulary=vocabulary)
    return corpus.name, corpus.ids


def read_split(settings: dict[str, Any], vocabulary: AnyVocabulary, split_name: str) -> Ids:
    """Return one split of the text that `CharDataModule.settings` describe; `RequestError` if the text has changed."""
    options = options_of(settings)
    if STDIN in options.path:
        raise RequestError("the run's text came from standard input and was not kept; pipe it to evaluate.py --text -")
    corpus = read_corpus(options, settings["train_share"])
    if corpus.sha256 != settings["corpus_sha256"] or corpus.vocabulary != vocabulary:
        advice = "to score the current text, use evaluate.py --text"
        raise RequestError(f"{corpus.name} has changed since the run was trained on it; {advice}")
    ids = split(corpus.ids, settings["validation_fraction"], settings["test_fraction"])[split_name]
    if len(ids) < 2:
        raise RequestError(f"the run has no {split_name} split ({len(ids)} characters); use another --split")
    return ids
