"""What is watched during training: how much of a sample is copied from the training text."""

from typing import Any

import lightning
from lightning.pytorch import Callback

from charrnn.callbacks import Samples
from charrnn.novelty import NGRAM, measure_novelty
from charrnn.vocabulary import Ids

COMPARED = 10_000_000  # symbols of the training text, its first ones: a tenth of a second after each validation


class Copies(Callback):
    """After each validation the novelty of the sample that `samples`, which comes before, has just written.

    Longer copies and a larger share of n-grams than those of held-out text mean that the network learns by heart.
    A function of the sample alone: no generator of the run is used, and a resumed run writes the same.
    """

    def __init__(self, samples: Samples, train_ids: Ids) -> None:
        self._samples = samples
        self._train_ids = train_ids[:COMPARED]

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        (novelty,) = measure_novelty([pl_module.vocabulary.encode(self._samples.latest)], self._train_ids)
        metrics = {"sample/longest_copy": float(novelty.longest.length)}
        if novelty.copied_ngrams is not None:
            metrics[f"sample/copied_{NGRAM}grams"] = novelty.copied_ngrams
        pl_module.write_metrics(metrics)
