"""Build the callbacks that the config adds or sets."""

from pathlib import Path

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    LearningRateFinder,
    ModelPruning,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
)
from omegaconf import DictConfig, OmegaConf

from charrnn.training.builders import build
from charrnn.training.callbacks.checkpoint import Checkpoints
from charrnn.training.callbacks.guard import guard
from charrnn.training.callbacks.keep import Keep
from charrnn.training.callbacks.monitor import Monitor
from charrnn.training.callbacks.stopping import TimeLimit
from charrnn.training.run_state import RunState
from charrnn.utils.config import plain
from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_integer, require_number

# Lightning's callbacks that can't work here, each with the reason.
NOT_USABLE: dict[type[Callback], str] = {
    BatchSizeFinder: "the streams and their saved states belong to one batch size; set data.batch_size",
    LearningRateFinder: "it would change the rate of optimizer and schedule unnoticed; search it with scripts/tune.py",
    BaseFinetuning: "it freezes layers of torch.nn; set callbacks without it",
    StochasticWeightAveraging: "it adds an epoch to the run; use lightning.pytorch.callbacks.EMAWeightAveraging",
    OnExceptionCheckpoint: "a new run would start from its file; a run is saved without it, see resume_from=last",
    ModelPruning: "it prunes layers of torch.nn, which this network has none of",
}


def build_checkpoints(cfg: DictConfig, folder: Path, state: RunState, steps: int) -> Checkpoints:
    """Build the callback that writes the checkpoints of a run of `steps` optimizer steps."""
    return Checkpoints(
        folder,
        state,
        every=require_integer("checkpoint_every", cfg.checkpoint_every),
        minutes=require_number("checkpoint_minutes", cfg.checkpoint_minutes, 0.0),
        validate_every=require_integer("trainer.val_check_interval", cfg.trainer.val_check_interval),
        steps=steps,
        keep_every=None if cfg.keep_every is None else require_integer("keep_every", cfg.keep_every),
    )


def build_keeping(cfg: DictConfig, folder: Path, state: RunState) -> list[Callback]:
    """Build the callback that keeps more checkpoints, if the config asks for any."""
    best = require_integer("keep_best", cfg.keep_best)
    return [Keep(folder, state, every=cfg.keep_every, best=best)] if best > 1 or cfg.keep_every is not None else []


def build_time_limit(cfg: DictConfig, state: RunState) -> list[Callback]:
    """Build the callback that stops the run after `max_minutes` of training, over all its processes."""
    if cfg.max_minutes is None:
        return []
    return [guard(TimeLimit(require_number("max_minutes", cfg.max_minutes, 0.0)), "max_minutes", state)]


def build_callbacks(cfg: DictConfig, state: RunState, *, validates: bool) -> list[Callback]:
    """Build the callbacks that the config group `callbacks` names; those set to null are left out.

    `validates` says whether the run has a validation split.
    """
    named = {f"callbacks.{name}": settings for name, settings in plain(cfg.callbacks).items() if settings is not None}
    callbacks = []
    for key, settings in named.items():
        if not isinstance(settings, dict) or "_target_" not in settings:
            raise RequestError(f"{key} must name a Lightning callback with _target_, or be null; got {settings!r}")
        callback = build(OmegaConf.create(named), key, Callback)
        for refused, reason in NOT_USABLE.items():
            if isinstance(callback, refused):
                raise RequestError(f"{key}: {type(callback).__name__} can't be used here: {reason}")
        if isinstance(callback, Monitor) and not validates:
            callback.follow_steps()
        callbacks.append(guard(callback, key, state))
    return callbacks
