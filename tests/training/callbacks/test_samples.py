from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from charrnn.data.vocabulary import Vocabulary
from charrnn.training.callbacks import samples
from charrnn.utils import process_state

TRAIN = "the quick brown fox jumps over the lazy dog. "


def test_the_novelty_of_each_sample_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[str, float] = {}
    vocabulary = Vocabulary(TRAIN)
    module: Any = SimpleNamespace(vocabulary=vocabulary, network=None, write_metrics=written.update)
    trainer: Any = SimpleNamespace(global_step=5, loggers=[])
    before = process_state.rng_state()
    for sample, compared, longest, share in (
        ("a quick brown box.", 100, 13, 4 / 9),
        (TRAIN, 100, len(TRAIN), 1.0),
        (TRAIN, 20, 20, 11 / 36),  # only the beginning of a long text is compared
        ("dog fox", 100, 4, None),  # shorter than 10 characters: no share
    ):
        written.clear()
        monkeypatch.setattr(samples, "MAX_COMPARED_SYMBOLS", compared)
        monkeypatch.setattr(samples, "generate_text", lambda *_, sample=sample, **__: sample)
        samples.Samples(tmp_path, 1, vocabulary.encode(TRAIN)).on_validation_end(trainer, module)
        shares = {} if share is None else {"sample/copied_10grams": pytest.approx(share)}
        assert written == {"sample/longest_copy": longest, **shares}
    after = process_state.rng_state()  # no generator of the run is used
    assert np.array_equal(before.pop("torch"), after.pop("torch"))
    assert before == after
