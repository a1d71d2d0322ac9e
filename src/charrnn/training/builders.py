"""Build the parts of a run from the config; what can't be built becomes a `RequestError`."""

import inspect
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import lightning
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from charrnn.data.datamodule import CharDataModule
from charrnn.training.checkpoint_io import SafeCheckpointIO
from charrnn.training.config_checks import trainer_settings
from charrnn.training.distributed.ranks import Ranks
from charrnn.training.distributed.strategy import MeanGradients
from charrnn.utils.config import plain
from charrnn.utils.errors import RequestError, one_line
from charrnn.utils.validation import require_number

# The settings of torch's optimizers and schedulers that are not numbers.
NOT_NUMERIC = ("_target_", "fused", "mode", "threshold_mode", "anneal_strategy")
# What constructors raise for settings that they can't take.
REFUSALS = (TypeError, ValueError, IndexError, NotImplementedError, MisconfigurationException, ImportError)


def build(cfg: DictConfig, group: str, kind: type | tuple[type, ...], **arguments: Any) -> Any:
    """Call the constructor that a config group names, and check that it builds a `kind`.

    Raises `RequestError` with the full key for what it refuses.
    """
    try:
        built = instantiate(cfg[group], _convert_="all", **arguments)
        if not isinstance(built, kind):
            expected = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
            raise RequestError(f"{group} must name a class of {expected} with _target_, got {type(built).__name__}")
        return built
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
        if cause is None or isinstance(cause, REFUSALS):
            problem = one_line(cause or error) or type(cause).__name__
            target = cfg[group].get("_target_")
            raise RequestError(f"{group}: {target} can't be built with these settings: {problem}") from error
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
    _try_optimizer(OmegaConf.create({"optimizer": settings}))
    make: Any = instantiate(settings, _partial_=True, _convert_="all")
    can_fuse = requested not in (False, None) and "fused" in inspect.signature(make.func).parameters
    # With 16-mixed, a fused optimizer would unscale gradients that are clipped already.
    options: list[dict[str, bool]] = [{"fused": True}] if can_fuse and cfg.trainer.precision != "16-mixed" else []

    def make_optimizer(parameters: list[nn.Parameter]) -> Optimizer:
        try:
            for option in options:
                with suppress(RuntimeError):  # torch has no fused implementation for this device
                    return make(parameters, **option)  # type: ignore[no-any-return]
            return make(parameters)  # type: ignore[no-any-return]
        except ValueError as error:
            raise RequestError(f"optimizer: {make.func.__name__} can't train this network: {error}") from error

    return make_optimizer


def _try_optimizer(cfg: DictConfig) -> None:
    """Raise `RequestError` for an optimizer that can't be built, or can't make a step with dense gradients alone."""
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros(2, 2)
    optimizer = build(cfg, "optimizer", Optimizer, params=[parameter])
    try:
        optimizer.step()
    except (TypeError, RuntimeError, NotImplementedError) as error:
        name = type(optimizer).__name__
        reason = "it computes the loss several times in each step" if "closure" in str(error) else one_line(error)
        raise RequestError(f"optimizer: {name} can't be used here: {reason}; use another class") from error


def build_scheduler(cfg: DictConfig, steps: int) -> Any:
    """Return a function from an optimizer to its schedule; `total_steps: null` is replaced by the run's `steps`."""
    _check_numbers(cfg, "scheduler")
    length = {"total_steps": steps} if cfg.scheduler.get("total_steps", steps) is None else {}
    probe = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build(cfg, "scheduler", (LRScheduler, ReduceLROnPlateau), optimizer=probe, **length)
    probe.step()
    try:
        scheduler.step(*([1.0] if isinstance(scheduler, ReduceLROnPlateau) else []))
    except (TypeError, ValueError, ArithmeticError, NotImplementedError) as error:
        name, problem = type(scheduler).__name__, one_line(error) or type(error).__name__
        raise RequestError(f"scheduler: {name} can't step with these settings: {problem}") from error
    has_validation = cfg.data.validation_fraction or cfg.data.get("validation_path") is not None
    if isinstance(scheduler, ReduceLROnPlateau) and not has_validation:
        raise RequestError("scheduler=plateau needs a validation split; set data.validation_fraction above 0")
    return instantiate(cfg.scheduler, _partial_=True, _convert_="all", **length)


def build_trainer(
    cfg: DictConfig, data: CharDataModule, loggers: list[Logger], callbacks: list[Any], ranks: Ranks
) -> lightning.Trainer:
    """Build the Lightning Trainer; raise `RequestError` for what it or this machine does not support."""
    settings = trainer_settings(cfg)
    if ranks.size > 1 and settings["accelerator"] in ("auto", "mps") and torch.backends.mps.is_available():
        raise RequestError(f"trainer.devices={ranks.local_size}: a Mac has one GPU; add trainer.accelerator=cpu")
    listed = not isinstance(settings["devices"], int)
    if listed and (
        settings["accelerator"] == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    ):
        raise RequestError(
            f"trainer.devices={settings['devices']} lists GPUs, and this run has none; use trainer.devices=1"
        )
    own = {
        "limit_val_batches": 1.0 if len(data.validation_ids) else 0,
        "check_val_every_n_epoch": None,  # val_check_interval counts over epochs
        "num_sanity_val_steps": 0,
        "logger": loggers,
        "callbacks": callbacks,
        "plugins": [SafeCheckpointIO(), ranks.environment()],
        "strategy": "auto" if ranks.size == 1 else MeanGradients(),
        "use_distributed_sampler": False,  # the batches are divided by lanes, in data/batches.py
        # Only if the config adds Lightning's: `Checkpoints` writes files, `Progress` shows one bar for the whole run.
        "enable_checkpointing": any(isinstance(each, Checkpoint) for each in callbacks),
        "enable_progress_bar": any(isinstance(each, ProgressBar) for each in callbacks),
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
