"""TensorBoard logging for a run: curves, texts, plots, baseline lines and the hyperparameter table."""

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from charrnn.training.hparams_table import hparams_records
from charrnn.training.resume import Start
from charrnn.utils.screen import wrap_lines

log = logging.getLogger(__name__)

RESULT = "result/"  # tags of values that a run has once: the HParams table takes them from there
TEXT_WIDTH = 100
NATS = "nats_per_char/"  # TensorBoard shows bits; metrics.csv has both


def _report_thread(arguments: threading.ExceptHookArgs) -> None:
    """Report an error of a thread as Python does, but not one of TensorBoard's writer, which the logger reports."""
    if not (isinstance(arguments.exc_value, OSError) and type(arguments.thread).__module__.startswith("tensorboard.")):
        threading.__excepthook__(arguments)


class RunLogger(TensorBoardLogger):
    """Writes TensorBoard events into the run folder, and no hparams.yaml: Hydra already saves the config there."""

    _warned = False

    def __init__(self, save_dir: str | Path, flush_secs: int = 10, purge_step: int | None = None) -> None:
        """Log into `save_dir`; TensorBoard drops the points of an earlier process from `purge_step` on."""
        threading.excepthook = _report_thread
        options: dict[str, Any] = {"flush_secs": flush_secs, "purge_step": purge_step}
        super().__init__(save_dir, name="", version="", default_hp_metric=False, **options)
        self._results: dict[str, float] = {}

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Turn write errors, such as a full disk, into a single warning, so that training continues."""
        try:
            yield
        except (OSError, ValueError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__  # Lightning wraps errors in a ValueError
            if not isinstance(cause, OSError):
                raise
            if not self._warned:
                log.warning("can't write TensorBoard events (%s); training continues without them", cause.strerror)
            self._warned = True

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        shown = {tag: value for tag, value in metrics.items() if not tag.startswith(NATS)}
        self._results |= {tag: float(value) for tag, value in shown.items() if tag.startswith(RESULT)}
        with self._tolerant():
            super().log_metrics(shown, step)

    def save(self) -> None:
        with self._tolerant():
            self.experiment.flush()

    def finalize(self, status: str) -> None:
        self.save()  # called after fit and again after validate, so only `close` closes the file

    def close(self) -> None:
        if self._experiment is not None:  # else closing would create an empty event file
            with self._tolerant():
                self.experiment.close()

    def add_text(self, tag: str, text: str, step: int) -> None:
        """Add a text, shown verbatim but in lines of at most TEXT_WIDTH characters, to TensorBoard's Text tab."""
        lines = wrap_lines(text, TEXT_WIDTH).splitlines()
        indented = "".join(f"    {line}\n" for line in lines)  # a code block in Markdown
        with self._tolerant():
            self.experiment.add_text(tag, indented, step)

    def add_plot(self, tag: str, figure: Any, step: int) -> None:
        """Add a matplotlib figure to TensorBoard's Images tab."""
        with self._tolerant():
            self.experiment.add_figure(tag, figure, step)

    def add_histogram(self, tag: str, values: Tensor, step: int) -> None:
        """Add the distribution of the values to TensorBoard's Histograms tab."""
        with self._tolerant():
            self.experiment.add_histogram(tag, values.float().cpu(), step)

    def draw_baselines(self, baselines: dict[str, float], steps: int, start: Start) -> None:
        """Draw each baseline as a horizontal line, and in one Custom Scalars chart together with the curves."""
        if start.trained:
            return
        tags = {name: f"reference/{name}_bits_per_char" for name in baselines}
        with self._tolerant():
            for name, tag in tags.items():
                for step in (0, steps) if start.step == 0 else (steps,):  # a resumed run has its first point already
                    self.experiment.add_scalar(tag, baselines[name], step)
            if tags:
                curves = ["bits_per_char/train", "bits_per_char/val", *tags.values()]
                self.experiment.add_custom_scalars_multilinechart(curves, title="bits per character, with baselines")

    def log_outcome(self, settings: dict[str, Any], named: Iterable[str]) -> None:
        """Add the run to the HParams tab: its settings, those that the command line named, and the logged results."""
        with self._tolerant():
            for record in hparams_records(settings, named, self._results):
                self.experiment.file_writer.add_summary(record)


def run_loggers(trainer: lightning.Trainer) -> list[RunLogger]:
    """Return those loggers of the trainer that take texts and plots."""
    return [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]
