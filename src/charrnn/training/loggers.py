"""Where a run logs its metrics: `metrics.csv`, and the loggers that the config names."""

import hashlib
import inspect
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from lightning.pytorch.loggers.logger import Logger
from omegaconf import DictConfig, OmegaConf

from charrnn.training.builders import build
from charrnn.training.logger import RunLogger
from charrnn.training.metrics_file import MetricsFile
from charrnn.training.resume import Start
from charrnn.utils.config import flattened, plain
from charrnn.utils.errors import RequestError

SETTINGS = ("model", "data", "optimizer", "scheduler", "trainer", "seed")


class Loggers:
    """The loggers of a run: `all` for Lightning, and what is logged once at its start and at its end."""

    def __init__(self, cfg: DictConfig, folder: Path, start: Start) -> None:
        resumed = start.step + start.trained if start.step else None  # a trained run keeps all its rows
        named = [_build(cfg, name, folder, start) for name in sorted(cfg.logger)]
        self.all: list[Logger] = [*named, MetricsFile(folder, resumed)]
        self._settings = flattened(plain(OmegaConf.create({key: cfg[key] for key in SETTINGS})))
        self._start = start

    def begin(self, baselines: dict[str, float], steps: int) -> None:
        """Log the settings, and the baselines as lines to compare the curves with."""
        for logger in self.all:
            if isinstance(logger, RunLogger):
                logger.draw_baselines(baselines, steps, self._start)
            else:
                logger.log_hyperparams(self._settings)

    def end(self, summary: dict[str, Any]) -> None:
        """Log the final scores."""
        names = ("val_bits_per_char", "test_bits_per_char")
        scores = {f"result/{name}": summary[name] for name in names if summary[name] is not None}
        for logger in self.all:
            if isinstance(logger, RunLogger):
                logger.log_outcome(self._settings, scores, summary["steps"])
            else:
                logger.log_metrics(scores, step=summary["steps"])

    def close(self) -> None:
        """Write what is left, also after an error."""
        for logger in self.all:
            if isinstance(logger, RunLogger | MetricsFile):
                logger.close()
            else:
                logger.finalize("success")


def _build(cfg: DictConfig, name: str, folder: Path, start: Start) -> Logger:
    """Build a logger, with the run's folder for `save_dir` unless the config sets it."""
    settings = cfg.logger[name]
    if not OmegaConf.is_dict(settings) or "_target_" not in settings:
        raise RequestError(f"logger.{name} must name a Lightning logger with _target_, got {settings!r}")
    resumed = any(folder.glob("events.out.*")) and not start.trained
    own: dict[str, Any] = {
        "save_dir": str(folder),
        "id": hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16],  # W&B: a resumed run is the same one
        "purge_step": start.step if resumed else None,
    }
    try:
        accepted = inspect.signature(get_class(settings._target_)).parameters
    except Exception:  # an unknown class: `build` says so
        accepted = {}  # type: ignore[assignment]
    arguments = {key: value for key, value in own.items() if key in accepted and key not in settings}
    built: Logger = build(OmegaConf.create({f"logger.{name}": settings}), f"logger.{name}", Logger, **arguments)
    return built
