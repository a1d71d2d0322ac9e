"""Where a run logs its metrics: `metrics.csv`, and the loggers that the config names."""

import functools
import hashlib
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.utils import get_class
from lightning.pytorch.loggers.logger import Logger
from omegaconf import DictConfig, OmegaConf

from charrnn.runs.records import named_settings
from charrnn.training.builders import build
from charrnn.training.logger import RESULT, RunLogger
from charrnn.training.metrics_file import MetricsFile
from charrnn.training.resume import Start
from charrnn.utils.config import flattened, plain
from charrnn.utils.errors import RequestError, one_line

log = logging.getLogger(__name__)

SETTINGS = ("model", "data", "optimizer", "scheduler", "trainer", "seed")


class Loggers:
    """The loggers of a run: `all` for Lightning, and what is logged once at its start and at its end."""

    def __init__(self, cfg: DictConfig, folder: Path, start: Start) -> None:
        resumed = start.step + start.trained if start.step else None  # a trained run keeps all its rows
        named = [_build(cfg, name, folder, start) for name in sorted(cfg.logger)]
        self.all: list[Logger] = [*named, MetricsFile(folder, resumed)]
        self._settings = flattened(plain(OmegaConf.create({key: cfg[key] for key in SETTINGS})))
        self._start, self._folder = start, folder

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
        scores = {f"{RESULT}{name}": summary[name] for name in names if summary[name] is not None}
        for logger in self.all:
            logger.log_metrics(scores, step=summary["steps"])
            if isinstance(logger, RunLogger):
                logger.log_outcome(self._settings, named_settings(self._folder))

    def __enter__(self) -> "Loggers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write what is left, also after an error, and tell the loggers whether the run succeeded."""
        for logger in self.all:
            if isinstance(logger, RunLogger | MetricsFile):
                logger.close()
            else:
                logger.finalize("success" if kind is None else "failed")


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
        accepted = inspect.signature(get_class(settings["_target_"])).parameters
    except Exception:  # an unknown class: `build` says so
        accepted = {}  # type: ignore[assignment]
    arguments = {key: value for key, value in own.items() if key in accepted and key not in settings}
    key = f"logger.{name}"
    built: Logger = build(OmegaConf.create({key: settings}), key, Logger, **arguments)
    if isinstance(built, RunLogger):  # which handles its errors itself
        return built
    try:
        getattr(built, "experiment", None)  # most create a file, or connect to their server, only now
    except Exception as error:
        raise RequestError(f"{key} ({type(built).__name__}) can't start: {one_line(error)}") from error
    return _tolerant(built, key)


def _tolerant(logger: Logger, key: str) -> Logger:
    """Make a logger that raises an error log nothing from then on: its server may be down, but training continues."""
    broken: list[Exception] = []
    name = f"{key} ({type(logger).__name__})"

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **named: Any) -> Any:
            if broken:
                return None
            try:
                return method(*arguments, **named)
            except Exception as error:
                broken.append(error)
                log.warning("%s fails: %s; training continues without it", name, one_line(error))
            return None

        return call

    for method in ("log_metrics", "log_hyperparams", "save", "finalize", "after_save_checkpoint"):
        setattr(logger, method, guarded(getattr(logger, method)))
    return logger
