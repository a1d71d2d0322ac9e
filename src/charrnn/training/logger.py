"""The TensorBoard events of a run: curves, texts, pictures, reference lines, and the table of settings."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch.utils.tensorboard.summary import hparams

from charrnn.utils.config import flattened, plain

log = logging.getLogger(__name__)

NOT_IN_TABLE = ("data._target_", "model._target_", "trainer._target_", "data.seed")  # the same in every run


class RunLogger(TensorBoardLogger):
    """TensorBoard events into the run folder, and nothing else: Hydra already keeps the settings there."""

    _complained = False

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """A full disk is no reason to stop learning: the curves end, with one warning."""
        try:
            yield
        except (OSError, ValueError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__  # Lightning wraps what is raised
            if not isinstance(cause, OSError):
                raise
            if not self._complained:
                log.warning("the curves can't be written (%s); training goes on without them", cause.strerror)
            self._complained = True

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        with self._tolerant():
            super().log_metrics(metrics, step)

    def save(self) -> None:
        with self._tolerant():
            self.experiment.flush()

    def finalize(self, status: str) -> None:
        self.save()  # fit and validate both end so; the file is closed when the run has ended

    def close(self) -> None:
        if self._experiment is not None:  # a run that was refused leaves no events
            with self._tolerant():
                self.experiment.close()

    def add_text(self, tag: str, text: str, step: int) -> None:
        """A text as it is, in the tab Text."""
        indented = "".join(f"    {line}\n" for line in text.splitlines())  # Markdown shows it as it is
        with self._tolerant():
            self.experiment.add_text(tag, indented, step)

    def add_plot(self, tag: str, figure: Any, step: int) -> None:
        """A figure of matplotlib, in the tab Images."""
        with self._tolerant():
            self.experiment.add_figure(tag, figure, step)

    def draw_references(self, figures: dict[str, float], steps: int, begun: int) -> None:
        """Level lines from the first step to the last; the tab Custom Scalars has them in one chart with the curves."""
        tags = {name: f"reference/{name}_bits_per_char" for name in figures}
        with self._tolerant():
            for name, tag in tags.items():
                for step in (0, steps) if not begun else (steps,):  # those of earlier steps are there already
                    self.experiment.add_scalar(tag, figures[name], step)
            if tags:
                curves = ["bits_per_char/train", "bits_per_char/val", *tags.values()]
                self.experiment.add_custom_scalars_multilinechart(curves, title="bits per character, and references")

    def log_outcome(self, cfg: DictConfig, summary: dict[str, Any]) -> None:
        """Fill the hyperparameters tab: the settings that shape a result, with the final figures beside them."""
        names = ("val_bits_per_char", "test_bits_per_char")
        metrics = {f"result/{name}": summary[name] for name in names if summary[name] is not None}
        settings = {key: cfg[key] for key in ("model", "data", "optimizer", "scheduler", "trainer", "seed")}
        flat = flattened(plain(OmegaConf.create(settings)))
        table = {
            # The types that the table takes; a file's name may be any bytes.
            key: value if isinstance(value, int | float | bool) else str(value).encode("utf-8", "replace").decode()
            for key, value in flat.items()
            if key not in NOT_IN_TABLE
        }
        with self._tolerant():
            for tag, metric in metrics.items():
                self.experiment.add_scalar(tag, metric, summary["steps"])
            for part in hparams(table, metrics):
                self.experiment.file_writer.add_summary(part)
