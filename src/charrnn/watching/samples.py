"""What it writes, for several prompts at several temperatures."""

from functools import partial
from typing import Any

import lightning

from charrnn.generation import generate_text
from charrnn.utils.validation import require_integer, require_number
from charrnn.watching.watcher import Plots, Subject, Values, Watcher

PROMPT_LENGTH = 12  # characters that the text itself gives
PROMPTS = 3


class SampleGrid(Watcher):
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
