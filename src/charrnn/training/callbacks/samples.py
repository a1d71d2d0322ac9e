"""Texts that the network writes while it trains: one after each validation, or a grid of prompts and temperatures."""

import logging
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import Callback

from charrnn.data.vocabulary import Ids
from charrnn.evaluation.novelty import NGRAM, measure_novelty
from charrnn.generation.generate import generate_text
from charrnn.module import CharRNNModule
from charrnn.training.callbacks.monitor import Monitor, Plots, Subject, Values
from charrnn.utils.files import write_text
from charrnn.utils.validation import require_integer, require_number

log = logging.getLogger(__name__)

SAMPLE_LENGTH = 300
SAMPLE_TEMPERATURE = 0.8  # below 1 the text is a little safer than the model's own distribution, and reads better
COMPARED = 10_000_000  # symbols of the training text, its first ones: a tenth of a second after each validation
PROMPT_LENGTH = 12  # characters that the text itself gives
PROMPTS = 3


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


class SampleGrid(Monitor):
    """Sampled texts for every prompt at every temperature; without prompts it takes the beginnings of three lines."""

    def __init__(
        self, when: str, prompts: str | list[str] | None, temperatures: list[float], length: int, seed: int
    ) -> None:
        super().__init__(when)
        for temperature in temperatures:
            require_number("temperatures", temperature, 0.0)
        self._prompts = [prompts] if isinstance(prompts, str) else prompts
        self._temperatures = temperatures
        self._length, self._seed = require_integer("length", length), require_integer("seed", seed, minimum=0)

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        for prompt in self._prompts or ():
            pl_module.vocabulary.encode(prompt)  # now, and not after the first validation

    def look(self, subject: Subject) -> tuple[Values, Plots]:
        sample = partial(generate_text, subject.network, subject.vocabulary, length=self._length, seed=self._seed)
        grid = [
            f"--- temperature {temperature:g}, prompt {prompt!r}\n{sample(prompt=prompt, temperature=temperature)}\n"
            for prompt in self._prompts or _places(subject)
            for temperature in self._temperatures
        ]
        return {"samples/grid": "\n".join(grid)}, {}


def _places(subject: Subject) -> list[str]:
    """The beginnings of lines spread over the first thousands of characters."""
    lines = subject.vocabulary.decode(subject.ids[:10_000]).split("\n")
    long = [line[:PROMPT_LENGTH] for line in lines if len(line) > PROMPT_LENGTH]
    return [long[i * len(long) // PROMPTS] for i in range(PROMPTS)] if long else [""]
