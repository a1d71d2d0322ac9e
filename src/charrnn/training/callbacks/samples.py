"""Sample texts during training: one after each validation, or a grid of prompts and temperatures."""

import logging
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import Callback

from charrnn.data.decoding import as_training_text
from charrnn.data.vocabulary import Ids
from charrnn.evaluation.novelty import NGRAM, measure_novelty
from charrnn.generation.generate import generate_text
from charrnn.module import CharRNNModule
from charrnn.runs.folder import SAMPLES
from charrnn.training.callbacks.monitor import Monitor, Plots, Snapshot, Values
from charrnn.training.logger import run_loggers
from charrnn.utils.files import append, write_text
from charrnn.utils.validation import require_integer, require_number

log = logging.getLogger(__name__)

SAMPLE_LENGTH = 300
SAMPLE_TEMPERATURE = 0.8  # slightly below 1: fewer unlikely characters than the model's own distribution has
MAX_COMPARED_SYMBOLS = 10_000_000  # at the beginning of the training text; comparing takes a tenth of a second
DEFAULT_PROMPT_LENGTH = 12
DEFAULT_PROMPTS = 3


class Samples(Callback):
    """Samples a text after each validation, into `samples.txt` and TensorBoard, and logs its novelty.

    If samples share longer copies and more n-grams with the training text than held-out text does, the network has
    memorized the training text.
    """

    def __init__(self, folder: Path, seed: int, train_ids: Ids) -> None:
        self._file = folder / SAMPLES
        self._seed = seed
        self._train_ids = train_ids[:MAX_COMPARED_SYMBOLS]
        self.latest = ""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Remove the samples that a resumed run will write again."""
        if not self._file.exists():
            return
        with self._file.open(encoding="utf-8", errors="replace", newline="") as file:
            sections = re.split(r"(?m)^--- step (\d+) ---\n", file.read())
        kept = [
            f"--- step {step} ---\n{text}"
            for step, text in zip(sections[1::2], sections[2::2], strict=True)
            if int(step) < trainer.global_step
        ]
        write_text(self._file, sections[0] + "".join(kept))

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        text = self.write(trainer, pl_module, trainer.global_step)
        (novelty,) = measure_novelty([pl_module.vocabulary.encode(text)], self._train_ids)
        metrics = {"sample/longest_copy": float(novelty.longest.length)}
        if novelty.copied_ngrams is not None:
            metrics[f"sample/copied_{NGRAM}grams"] = novelty.copied_ngrams
        pl_module.write_metrics(metrics)

    def write(self, trainer: lightning.Trainer, module: CharRNNModule, step: int) -> str:
        """Sample a text from the weights after `step`, write it to the file and TensorBoard, and return it.

        The random generators of the run are not used.
        """
        settings: dict[str, Any] = {"length": SAMPLE_LENGTH, "temperature": SAMPLE_TEMPERATURE, "seed": self._seed}
        self.latest = text = generate_text(module.network, module.vocabulary, **settings)
        entry = f"--- step {step} ---\n{text}\n\n".encode(errors="replace")
        try:
            with self._file.open("ab+") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - len(entry)))
                if file.read() == entry:  # already written: the best weights are also the last ones
                    return text
            append(self._file, entry)
        except OSError as error:  # training continues, even on a full disk
            log.warning("cannot write %s: %s", self._file, error.strerror)
        for logger in run_loggers(trainer):
            logger.add_text("sample", text, step)
        return text


class SampleGrid(Monitor):
    """Samples a text for every prompt at every temperature; the default prompts are the beginnings of three lines."""

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
        if self._prompts:
            settings = trainer.datamodule.settings  # type: ignore[attr-defined]  # Lightning does not declare it
            self._prompts = [as_training_text(prompt, settings) for prompt in self._prompts]
        for prompt in self._prompts or ():
            pl_module.vocabulary.encode(prompt)  # raises now, and not only after the first validation

    def measure(self, snapshot: Snapshot) -> tuple[Values, Plots]:
        sample = partial(generate_text, snapshot.network, snapshot.vocabulary, length=self._length, seed=self._seed)
        grid = [
            f"--- temperature {temperature:g}, prompt {prompt!r}\n{sample(prompt=prompt, temperature=temperature)}\n"
            for prompt in self._prompts or _default_prompts(snapshot)
            for temperature in self._temperatures
        ]
        return {"samples/grid": "\n".join(grid)}, {}


def _default_prompts(snapshot: Snapshot) -> list[str]:
    """Return the beginnings of lines spread over the first 10,000 characters."""
    lines = snapshot.vocabulary.decode(snapshot.ids[:10_000]).split("\n")
    starts = [line[:DEFAULT_PROMPT_LENGTH] for line in lines if len(line) > DEFAULT_PROMPT_LENGTH]
    return [starts[i * len(starts) // DEFAULT_PROMPTS] for i in range(DEFAULT_PROMPTS)] if starts else [""]
