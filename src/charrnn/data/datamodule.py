"""The LightningDataModule: a text, its splits, and the batches of each split."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import lightning
import numpy as np
import torch

from charrnn.data.batches import Batch, CharDataset, LaneBatches, ShuffledBatches, StreamBatches
from charrnn.data.corpus import read_corpus
from charrnn.data.options import TextOptions
from charrnn.data.sources import absolute_paths
from charrnn.data.splits import own_texts, splits_of
from charrnn.data.vocabulary import AnyVocabulary, count_symbols
from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_choice, require_integer, require_number

# Validation during training reads at most this much of the split; the final score reads all of it.
MAX_CURVE_SYMBOLS = 1_000_000
VALIDATION_STEPS, MAX_VALIDATION_LOGITS = 256, 1 << 21  # of a batch


class CharDataModule(lightning.LightningDataModule):
    """A text with its vocabulary, its three splits and their batches; `text` has the settings of `TextOptions`.

    Validation and test are fractions at the end of the text, or texts of their own (`validation_path`, `test_path`),
    which are read with the same settings. The fraction of a split with its own text does not count.
    `make_vocabulary` makes another vocabulary from that of the text.
    """

    def __init__(
        self,
        *,
        sequence_length: int = 64,
        batch_size: int = 32,
        order: str = "stream",
        validation_fraction: float = 0.05,
        test_fraction: float = 0.05,
        validation_path: Any = None,
        test_path: Any = None,
        seed: int = 1,
        make_vocabulary: Callable[[AnyVocabulary], AnyVocabulary] | None = None,
        **text: Any,
    ) -> None:
        super().__init__()
        self.sequence_length = require_integer("sequence_length", sequence_length)
        self.batch_size = require_integer("batch_size", batch_size)
        self.order = require_choice("order", order, ("stream", "rotate", "shuffle"))
        v = require_number("validation_fraction", validation_fraction, 0.0, below=1.0)
        t = require_number("test_fraction", test_fraction, 0.0, below=1.0)
        v, t = (0.0 if own is not None else part for own, part in ((validation_path, v), (test_path, t)))
        if v + t >= 1:
            raise RequestError(f"data.validation_fraction + data.test_fraction must stay below 1, got {v:g} + {t:g}")
        self._seed = require_integer("seed", seed, minimum=0)
        options = TextOptions(**text)
        train_share = 1 - v - t
        own = own_texts(validation_path, test_path)
        self.corpus = read_corpus(options, train_share, own_texts=own)
        if make_vocabulary is not None:
            vocabulary = make_vocabulary(self.corpus.vocabulary)
            self.corpus = read_corpus(options, train_share, vocabulary, own_texts=own)
        self.vocabulary = self.corpus.vocabulary
        self.train_ids, self.validation_ids, self.test_ids = splits_of(self.corpus, v, t).values()
        self._check_sizes(v, t)
        symbols = len(self.vocabulary)
        validation, test = (count_symbols(ids, symbols) for ids in (self.validation_ids, self.test_ids))
        train = np.array(self.corpus.counts) - validation - test  # by subtraction: counting would read the whole split
        # The number of occurrences of each symbol in each split, [V].
        self.counts = {"train": train, "validation": validation, "test": test}
        # Saved in checkpoints, to recreate the same splits (scripts/evaluate.py --split).
        self.settings: dict[str, Any] = {
            "text": {**asdict(options), "path": absolute_paths(options.path)},
            "corpus_sha256": self.corpus.sha256,
            "train_share": train_share,
            "validation_fraction": v,
            "test_fraction": t,
            "validation_path": None if validation_path is None else absolute_paths(validation_path),
            "test_path": None if test_path is None else absolute_paths(test_path),
        }
        self._ranks = 1
        self.batches_per_epoch = len(self._batches_of(0))

    def share(self, ranks: int) -> None:
        """Divide every batch among `ranks` processes. Raises `RequestError` if that is impossible."""
        if self.batch_size % ranks:
            below, above = self.batch_size // ranks * ranks, -(-self.batch_size // ranks) * ranks
            fits = " or ".join(f"data.batch_size={size}" for size in (below, above) if size)
            size = f"data.batch_size={self.batch_size}"
            raise RequestError(f"{size} is not divisible by the {ranks} processes; use {fits}")
        if ranks > 1 and not self.corpus.rereadable:
            raise RequestError(f"{self.corpus.name} can be read only once, not by {ranks} processes; save it as a file")
        self._ranks = ranks

    def _batches_of(self, rank: int) -> StreamBatches | ShuffledBatches:
        share = (rank, self._ranks)
        if self.order == "shuffle":
            windows = CharDataset(self.train_ids, self.sequence_length)
            return ShuffledBatches(windows, self.batch_size, self._seed, *share)
        seed = self._seed if self.order == "rotate" else None
        return StreamBatches(self.train_ids, self.batch_size, self.sequence_length, *share, seed=seed)

    @property
    def _rank(self) -> int:
        return 0 if self._ranks == 1 or self.trainer is None else self.trainer.global_rank

    def _check_sizes(self, validation_fraction: float, test_fraction: float) -> None:
        targets = len(self.train_ids) - 1
        if targets < self.batch_size * self.sequence_length:
            batch, length = targets // self.sequence_length, targets // self.batch_size
            fits = [f"data.batch_size={batch}"] * (batch > 0) + [f"data.sequence_length={length}"] * (length > 0)
            fits = fits or [f"data.batch_size=1 with data.sequence_length={targets}"] * (targets > 0)
            raise RequestError(
                f"the train split has {len(self.train_ids)} characters, too few for "
                f"data.batch_size={self.batch_size} times data.sequence_length={self.sequence_length} plus one; "
                + (f"the largest that fits is {' or '.join(fits)}" if fits else "use a longer text")
            )
        held_out = (("validation", self.validation_ids, validation_fraction), ("test", self.test_ids, test_fraction))
        for name, ids, fraction in held_out:
            own = name in self.corpus.parts
            if (own or fraction > 0) and len(ids) < 2:
                advice = f"use a longer data.{name}_path" if own else f"raise data.{name}_fraction or set it to 0"
                raise RequestError(f"the {name} split has {len(ids)} characters but needs at least 2; {advice}")

    def symbols_per_character(self, split_name: str) -> float:
        """Return the factor that converts a loss per symbol to one per character: 1 unless level=byte."""
        characters, _ = self.vocabulary.lengths(self.counts[split_name])
        return int(self.counts[split_name].sum()) / max(1, characters)

    def train_dataloader(self) -> StreamBatches | ShuffledBatches:
        return self._batches_of(self._rank)

    def val_dataloader(self) -> LaneBatches | list[Any]:
        if not len(self.validation_ids):
            return []
        ids = self.validation_ids[:MAX_CURVE_SYMBOLS]
        # Each lane starts from a zero state, so segments are at least as long as a training sequence.
        lanes = max(1, min(self.batch_size, len(ids) // self.sequence_length))
        # Longer chunks than in training: nothing is kept for a backward pass, and each batch has its price.
        steps = min(VALIDATION_STEPS, MAX_VALIDATION_LOGITS // (lanes * len(self.vocabulary)))
        return LaneBatches(ids, lanes, max(self.sequence_length, steps), self._rank, self._ranks)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch to the device. It comes from the CPU, where Lightning would look through it for nothing."""
        if device.type == "cpu":
            return batch
        moved: Batch = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved
