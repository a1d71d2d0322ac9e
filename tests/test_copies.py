from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from charrnn import copies, process_state
from charrnn.copies import Copies
from charrnn.vocabulary import Vocabulary

TRAIN = "the quick brown fox jumps over the lazy dog. "
VOCABULARY = Vocabulary(TRAIN)


def written_of(sample: str, train: str = TRAIN) -> dict[str, float]:
    """What is written of this sample after a validation."""
    written: dict[str, float] = {}
    module: Any = SimpleNamespace(vocabulary=VOCABULARY, write_metrics=written.update)
    samples: Any = SimpleNamespace(latest="")
    callback = Copies(samples, VOCABULARY.encode(train))
    samples.latest = sample
    trainer: Any = None
    callback.on_validation_end(trainer, module)
    return written


def test_the_figures_of_the_latest_sample() -> None:
    assert written_of("a quick brown box.") == {
        "sample/longest_copy": 13.0,
        "sample/copied_10grams": pytest.approx(4 / 9),
    }
    assert written_of(TRAIN) == {"sample/longest_copy": len(TRAIN), "sample/copied_10grams": 1.0}
    assert written_of("dog fox") == {"sample/longest_copy": 4.0}  # no 10 characters: no share of anything


def test_only_the_beginning_of_a_long_text_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "COMPARED", 20)
    assert written_of(TRAIN) == {"sample/longest_copy": 20.0, "sample/copied_10grams": pytest.approx(11 / 36)}


def test_no_generator_of_the_run_is_used() -> None:
    before = process_state.rng_state()
    written_of("the " * 75)
    after = process_state.rng_state()
    assert np.array_equal(before.pop("torch"), after.pop("torch"))
    assert before == after
