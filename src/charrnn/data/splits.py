"""A text cut into its training, validation and test part; the parts of a run, found again without Lightning."""

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

NAMED = 3  # files of a text in its name


def split(ids: Ids, validation_fraction: float, test_fraction: float) -> dict[str, Ids]:
    """The ids cut into the parts `train`, `validation` and `test`: the last one that is asked for takes the rest."""
    n = len(ids)
    train = int((1 - validation_fraction - test_fraction) * n) if validation_fraction + test_fraction > 0 else n
    validation = int(validation_fraction * n) if test_fraction > 0 else n - train
    return dict(zip(SPLITS, np.split(ids, [train, train + validation]), strict=True))


def named_text(
    settings: dict[str, Any], vocabulary: AnyVocabulary, text: str | None, part: str | None, encoding: str | None
) -> tuple[str, Ids]:
    """What a command names, by its name and as ids: the text at a place, or a part (validation) of the run's own.

    It is read as the run's text was, described by `settings`, but for its encoding if one is given.
    """
    options = options_of(settings)
    if text is None:
        part = part or "validation"
        names = [Path(place).name for place in options.path]
        return f"{', '.join(names[:NAMED])}: {part} part", read_split(settings, vocabulary, part)
    options = replace(options, path=text, sha256=None, encoding=encoding or options.encoding)
    corpus = read_corpus(options, vocabulary=vocabulary)
    return corpus.name, corpus.ids


def read_split(settings: dict[str, Any], vocabulary: AnyVocabulary, part: str) -> Ids:
    """One part of the text that `CharDataModule.settings` describe; `RequestError` if the text has changed."""
    options = options_of(settings)
    if STDIN in options.path:
        raise RequestError("the run's text came from standard input, which is gone; evaluate.py --text - scores it")
    corpus = read_corpus(options, settings["train_share"])
    if corpus.sha256 != settings["corpus_sha256"] or corpus.vocabulary != vocabulary:
        advice = "evaluate.py --text scores it as it is now"
        raise RequestError(f"{corpus.name} has changed since the run was trained on it; {advice}")
    ids = split(corpus.ids, settings["validation_fraction"], settings["test_fraction"])[part]
    if len(ids) < 2:
        raise RequestError(f"the run has no {part} part ({len(ids)} characters); choose another --split")
    return ids
