"""Build the parts of a run from the config; what can't be built becomes a `RequestError`."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from charrnn.data.datamodule import CharDataModule
from charrnn.training.callbacks.checkpoint import Checkpoints
from charrnn.training.checkpoint_io import SafeCheckpointIO
from charrnn.training.config_checks import trainer_settings
from charrnn.training.distributed.ranks import Ranks
from charrnn.training.distributed.strategy import MeanGradients
from charrnn.training.run_state import RunState
from charrnn.utils.config import plain
from charrnn.utils.errors import RequestError, one_line
from charrnn.utils.validation import require_integer, require_number

# The settings of torch's optimizers and schedulers that are not numbers.
NOT_NUMERIC = ("_target_", "fused", "mode", "threshold_mode", "anneal_strategy")


def build(cfg: DictConfig, group: str, **arguments: Any) -> Any:
    """Call the constructor that a config group names; raise `RequestError` with the full key for what it refuses."""
    try:
        return instantiate(cfg[group], _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, RequestError):
            key = str(cause).split()[0]
            raise RequestError(f"{group}.{cause}" if key in cfg[group] else str(cause)) from error
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(cause))
        if unknown:
            known = ", ".join(str(key) for key in cfg[group] if key not in ("_target_", unknown[1]))
            raise RequestError(f"{group}.{unknown[1]} is not a setting of {group}, which has {known}") from error
        if isinstance(cause, RuntimeError) and "memory" in str(cause):
            raise RequestError(
                f"{group}: these sizes do not fit into memory ({one_line(cause)}); use smaller ones"
            ) from error
        if isinstance(cause, TypeError | ValueError | IndexError | MisconfigurationException | ImportError | None):
            raise RequestError(
                f"{group}: {cfg[group].get('_target_')} can't be built with these settings: {cause or error}"
            ) from error
        raise cause from None  # a bug, not a wrong request


def _check_numbers(cfg: DictConfig, group: str) -> None:
    """Raise `RequestError` for text where torch needs a number; its own constructors would fail late and obscurely."""
    for key, value in cfg[group].items():
        if isinstance(value, str) and key not in NOT_NUMERIC:
            raise RequestError(f"{group}.{key} must be a number, got {value!r}")


def build_optimizer(cfg: DictConfig) -> Callable[[list[nn.Parameter]], Optimizer]:
    """Return a function from parameters to their optimizer.

    `fused: auto` uses torch's fused implementation where the class and the device have one.
    """
    require_number("optimizer.lr", cfg.optimizer.get("lr"), 0.0)
    _check_numbers(cfg, "optimizer")
    settings = plain(cfg.optimizer)
    requested = settings.pop("fused", None)
    if requested not in ("auto", True, False, None):
        raise RequestError(f"optimizer.fused must be auto, true, false or null, got {requested!r}")
    build(OmegaConf.create({"optimizer": settings}), "optimizer", params=[nn.Parameter(torch.zeros(1))])
    make: Any = instantiate(settings, _partial_=True, _convert_="all")
    if requested in (False, None) or "fused" not in inspect.signature(make.func).parameters:
        return make  # type: ignore[no-any-return]
    if cfg.trainer.precision == "16-mixed":  # a fused optimizer would unscale gradients that are clipped already
        return make  # type: ignore[no-any-return]

    def fused_if_possible(parameters: list[nn.Parameter]) -> Optimizer:
        try:
            return make(parameters, fused=True)  # type: ignore[no-any-return]
        except RuntimeError:  # torch has no fused implementation for this device
            return make(parameters)  # type: ignore[no-any-return]

    return fused_if_possible


def build_scheduler(cfg: DictConfig, steps: int) -> Any:
    """Return a function from an optimizer to its schedule; `total_steps: null` is replaced by the run's `steps`."""
    _check_numbers(cfg, "scheduler")
    length = {"total_steps": steps} if cfg.scheduler.get("total_steps", steps) is None else {}
    probe = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build(cfg, "scheduler", optimizer=probe, **length)
    probe.step()
    try:
        scheduler.step(*([1.0] if isinstance(scheduler, ReduceLROnPlateau) else []))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise RequestError(f"scheduler: {type(scheduler).__name__} can't step with these settings: {error}") from error
    if isinstance(scheduler, ReduceLROnPlateau) and not cfg.data.validation_fraction:
        raise RequestError("scheduler=plateau needs a validation split; set data.validation_fraction above 0")
    return instantiate(cfg.scheduler, _partial_=True, _convert_="all", **length)


def build_checkpoints(cfg: DictConfig, folder: Path, state: RunState, steps: int) -> Checkpoints:
    """Build the callback that writes the checkpoints of a run of `steps` optimizer steps."""
    return Checkpoints(
        folder,
        state,
        every=require_integer("checkpoint_every", cfg.checkpoint_every),
        minutes=require_number("checkpoint_minutes", cfg.checkpoint_minutes, 0.0),
        validate_every=require_integer("trainer.val_check_interval", cfg.trainer.val_check_interval),
        steps=steps,
    )


def build_callbacks(cfg: DictConfig) -> list[Callback]:
    """Build the callbacks that the config group `callbacks` names; those set to null are left out."""
    named = {f"callbacks.{name}": settings for name, settings in plain(cfg.callbacks).items() if settings is not None}
    callbacks = []
    for key, settings in named.items():
        has_class = isinstance(settings, dict) and "_target_" in settings
        callback = build(OmegaConf.create(named), key) if has_class else settings
        if not isinstance(callback, Callback):
            raise RequestError(f"{key} must name a Lightning callback with _target_, or be null; got {settings!r}")
        callbacks.append(callback)
    return callbacks


def build_trainer(
    cfg: DictConfig, data: CharDataModule, logger: Logger, callbacks: list[Any], ranks: Ranks
) -> lightning.Trainer:
    """Build the Lightning Trainer; raise `RequestError` for what it or this machine does not support."""
    settings = trainer_settings(cfg)
    if ranks.size > 1 and settings["accelerator"] in ("auto", "mps") and torch.backends.mps.is_available():
        raise RequestError(f"trainer.devices={ranks.local_size}: a Mac has one GPU; add trainer.accelerator=cpu")
    own = {
        "limit_val_batches": 1.0 if len(data.validation_ids) else 0,
        "check_val_every_n_epoch": None,  # val_check_interval counts over epochs
        "num_sanity_val_steps": 0,
        "logger": logger,
        "callbacks": callbacks,
        "plugins": [SafeCheckpointIO(), ranks.environment()],
        "strategy": "auto" if ranks.size == 1 else MeanGradients(),
        "use_distributed_sampler": False,  # the batches are divided by lanes, in data/batches.py
        "enable_checkpointing": False,  # `Checkpoints` writes them
        "enable_progress_bar": False,  # `Progress` shows one bar for the whole run instead of one per epoch
        "enable_model_summary": False,
    }
    try:
        trainer: lightning.Trainer = instantiate(settings, _convert_="all", **own)
    except InstantiationException as error:
        cause = error.__cause__ or error
        if "accelerator" in str(cause).lower() or "backend" in str(cause) or isinstance(cause, ImportError):
            devices = {"mps": torch.backends.mps.is_available(), "gpu": torch.cuda.is_available(), "cpu": True}
            usable = ", ".join(name for name, available in devices.items() if available)
            raise RequestError(
                f"trainer.accelerator={cfg.trainer.accelerator} is not available here: this machine has {usable}. "
                "Use trainer=auto or trainer=cpu"
            ) from error
        raise RequestError(f"trainer: these settings can't be used: {one_line(cause)}") from error
    if settings["precision"] == "16-mixed" and trainer.strategy.root_device.type == "cpu":
        raise RequestError("trainer.precision=16-mixed needs a GPU; on a CPU use trainer.precision=bf16-mixed")
    return trainer
