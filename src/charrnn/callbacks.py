"""What is shown of a run while it trains: curves, samples, progress."""

import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn
from tqdm import tqdm

from charrnn.data.vocabulary import Ids
from charrnn.generation import generate_text
from charrnn.module import CharRNNModule
from charrnn.novelty import NGRAM, measure_novelty
from charrnn.utils.files import write_text

log = logging.getLogger(__name__)

SAMPLE_LENGTH = 300
COMPARED = 10_000_000  # symbols of the training text, its first ones: a tenth of a second after each validation
BAR = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"
BAR_WIDTH = 79  # one line on the narrowest usual terminal
SAMPLE_TEMPERATURE = 0.8  # below 1 the text is a little safer than the model's own distribution, and reads better


class Curves(Callback):
    """Writes the training figures; before the checkpoint of the same step, so that it knows what was written."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        pl_module.write_again()

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if pl_module.logs_now():
            pl_module.write_training_figures()


class Samples(Callback):
    """After each validation a sampled text: added to `samples.txt` and shown in TensorBoard, with its novelty.

    Longer copies and a larger share of n-grams of the training text than held-out text has: it is learned by heart.
    """

    def __init__(self, folder: Path, seed: int, train_ids: Ids) -> None:
        self._file = folder / "samples.txt"
        self._seed = seed
        self._train_ids = train_ids[:COMPARED]

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Drop the samples that a resumed run is going to write again."""
        if not self._file.exists():
            return
        with self._file.open(encoding="utf-8", errors="replace", newline="") as file:
            parts = re.split(r"(?m)^--- step (\d+) ---\n", file.read())
        kept = [
            f"--- step {step} ---\n{text}"
            for step, text in zip(parts[1::2], parts[2::2], strict=True)
            if int(step) < trainer.global_step
        ]
        write_text(self._file, parts[0] + "".join(kept))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        text = self.write(trainer, pl_module, trainer.global_step)
        (novelty,) = measure_novelty([pl_module.vocabulary.encode(text)], self._train_ids)
        metrics = {"sample/longest_copy": float(novelty.longest.length)}
        if novelty.copied_ngrams is not None:
            metrics[f"sample/copied_{NGRAM}grams"] = novelty.copied_ngrams
        pl_module.write_metrics(metrics)

    def write(self, trainer: lightning.Trainer, module: CharRNNModule, step: int) -> str:
        """Sample from the weights of `step`, write to both places, return the text. No generator of the run is used."""
        settings: dict[str, Any] = {"length": SAMPLE_LENGTH, "temperature": SAMPLE_TEMPERATURE, "seed": self._seed}
        text = generate_text(module.network, module.vocabulary, **settings)
        entry = f"--- step {step} ---\n{text}\n\n".encode(errors="replace")
        try:
            with self._file.open("ab+") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - len(entry)))
                if file.read() == entry:  # the best weights are the last ones
                    return text
                file.write(entry)
        except OSError as error:  # a full disk is no reason to stop learning
            log.warning("%s can't be written: %s", self._file, error.strerror)
        add_text = getattr(trainer.logger, "add_text", None)  # the run's own logger has it
        if add_text is not None:
            add_text("sample", text, step)
        return text


class Progress(Callback):
    """One bar for the whole training on a terminal; elsewhere a plain line after each validation."""

    def __init__(self, steps: int, write_line: Callable[[str], None]) -> None:
        self._steps = steps
        self._write_line = write_line
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=self._steps, initial=trainer.global_step, bar_format=BAR, ncols=BAR_WIDTH, leave=False
            )

    def on_train_batch_end(self, trainer: lightning.Trainer, pl_module: Any, *_: Any) -> None:
        if self._bar is not None and pl_module.logs_now():
            self._bar.set_postfix_str(f"{_metrics(pl_module.latest)} bits/char", refresh=False)
            self._bar.update(trainer.global_step - self._bar.n)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if self._bar is None and trainer.state.fn == TrainerFn.FITTING:
            speed = pl_module.latest.get("speed/chars_per_second")
            line = f"step {trainer.global_step:,} of {self._steps:,}: {_metrics(pl_module.latest)} bits per character"
            self._write_line(line + (f", {speed:,.0f} characters/s" if speed else ""))

    def on_train_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)
        self._close()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _metrics(latest: dict[str, float]) -> str:
    tags = {"train": "bits_per_char/train", "validation": "bits_per_char/val"}
    return ", ".join(f"{split} {latest[tag]:.3f}" for split, tag in tags.items() if tag in latest)
