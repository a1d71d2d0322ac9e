"""Configuration in, objects out: builds the parts of a run, and turns what can't be built into a `RequestError`."""

import logging
import math
import os
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from charrnn import checkpoint_file
from charrnn.data import CharDataModule
from charrnn.errors import RequestError, one_line, require_choice, require_integer, require_number
from charrnn.network import CharRNN
from charrnn.resume import AtomicCheckpointIO

GROUPS = ("model", "data", "optimizer", "scheduler", "trainer")
TOP_LEVEL_KEYS = (*GROUPS, "seed", "threads", "resume_from", "checkpoint_every")
# What the story below hands to the Trainer itself; asking for another one would break what a run promises.
OWN_TRAINER_KEYS = (
    "logger", "callbacks", "plugins", "default_root_dir", "enable_checkpointing", "enable_progress_bar",
    "enable_model_summary", "num_sanity_val_steps", "check_val_every_n_epoch", "fast_dev_run", "strategy",
    "num_nodes", "barebones",
)  # fmt: skip
MOST_THREADS = 8  # the matmuls of a small network are too short to be shared among more


def check_keys(cfg: DictConfig) -> None:
    for key in set(cfg) ^ set(TOP_LEVEL_KEYS):
        trouble = "is not a setting" if key in cfg else "is missing"
        raise RequestError(f"{key} {trouble}; the top-level settings are {', '.join(TOP_LEVEL_KEYS)}")
    for key in GROUPS:
        if not OmegaConf.is_dict(cfg[key]):
            raise RequestError(f"{key} must be one of the options that python train.py --help lists, got {cfg[key]!r}")
    for key in sorted(OmegaConf.missing_keys(cfg)):
        raise RequestError(f"{key} has no value; add {key}=VALUE to the command")
    for key in OWN_TRAINER_KEYS:
        if key in cfg.trainer:
            raise RequestError(f"trainer.{key} is set by the run itself; leave it out (see python train.py --help)")


def prepare_process(cfg: DictConfig) -> tuple[int, int]:
    """Set every global switch: the jobs of a sweep share a process, and what one sets, the next would inherit."""
    seed = require_integer("seed", cfg.seed, minimum=0)
    if seed >= 2**32:
        raise RequestError(f"seed must be below 2**32, got {seed}")
    threads = default_threads() if cfg.threads == "auto" else require_integer("threads", cfg.threads)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):  # its own handlers keep its words out of ours
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    for category in (DeprecationWarning, FutureWarning):  # what the libraries have to say about themselves
        warnings.filterwarnings("ignore", category=category, module=r"(torch|lightning)\.")
    lightning.seed_everything(seed, workers=True, verbose=False)
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    return seed, threads


def default_threads() -> int:
    """The processors this process may use, at most MOST_THREADS; OMP_NUM_THREADS wins, as everywhere."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MOST_THREADS)


def build(cfg: DictConfig, group: str, **arguments: Any) -> Any:
    """Call the constructor that a config group names. What it refuses becomes a `RequestError` with the full key."""
    try:
        return instantiate(cfg[group], **arguments)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, RequestError):
            key = str(cause).split()[0]
            raise RequestError(f"{group}.{cause}" if key in cfg[group] else str(cause)) from error
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(cause))
        if unknown:
            known = ", ".join(str(key) for key in cfg[group] if key not in ("_target_", unknown[1]))
            raise RequestError(f"{group}.{unknown[1]} is not a setting here; {group} has {known}") from error
        if isinstance(cause, TypeError | ValueError | MisconfigurationException | ImportError | None):
            raise RequestError(f"{group}: {cfg[group].get('_target_')} can't be made so: {cause or error}") from error
        raise cause from None  # a fault of the program, not of the request


def build_optimizer(cfg: DictConfig, network: CharRNN) -> Any:
    """A callable parameters -> optimizer; `fused: auto` takes the fused form where the device has one."""
    require_number("optimizer.lr", cfg.optimizer.get("lr"), 0.0)
    build(cfg, "optimizer", params=list(network.parameters()), **({"fused": None} if "fused" in cfg.optimizer else {}))
    make = instantiate(cfg.optimizer, _partial_=True)
    if cfg.optimizer.get("fused") != "auto":
        return make
    if cfg.trainer.precision == "16-mixed":  # a fused optimizer would unscale the gradients after they were clipped
        return partial(make, fused=None)

    def fused_if_possible(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        try:
            return make(parameters, fused=True)  # type: ignore[no-any-return]
        except RuntimeError:  # torch has no fused form for this device
            return make(parameters, fused=None)  # type: ignore[no-any-return]

    return fused_if_possible


def build_scheduler(cfg: DictConfig, steps: int) -> Any:
    """A callable optimizer -> schedule; a schedule that wants its length gets the run's."""
    length = {"total_steps": steps} if cfg.scheduler.get("total_steps", steps) is None else {}
    probe = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    build(cfg, "scheduler", optimizer=probe, **length)
    return instantiate(cfg.scheduler, _partial_=True, **length)


def run_length(max_steps: object, max_epochs: object, batches_per_epoch: int, trainer: DictConfig) -> int:
    """Optimizer steps of the run: the first of the two limits that is reached; None and -1 stand for no limit."""
    accumulate = require_integer("trainer.accumulate_grad_batches", trainer.accumulate_grad_batches)
    limits = []
    for name, value, steps_each in (
        ("trainer.max_steps", max_steps, 1),
        ("trainer.max_epochs", max_epochs, math.ceil(batches_per_epoch / accumulate)),
    ):
        if value is not None and value != -1:
            limits.append(require_integer(name, value) * steps_each)
    if not limits:
        raise RequestError("a run needs an end: set trainer.max_steps or trainer.max_epochs to a positive integer")
    return min(limits)


def build_trainer(cfg: DictConfig, data: CharDataModule, logger: Logger, callbacks: list[Any]) -> lightning.Trainer:
    accelerator, precision = cfg.trainer.accelerator, cfg.trainer.precision
    if cfg.trainer.devices != 1:
        raise RequestError(f"trainer.devices must be 1, got {cfg.trainer.devices!r}; one process trains one network")
    require_choice("trainer.gradient_clip_algorithm", cfg.trainer.gradient_clip_algorithm, ("norm", "value"))
    require_integer("trainer.log_every_n_steps", cfg.trainer.log_every_n_steps)
    if not isinstance(cfg.trainer.val_check_interval, str):
        require_integer("trainer.val_check_interval", cfg.trainer.val_check_interval)
    settings = OmegaConf.to_container(cfg.trainer, resolve=True)
    assert isinstance(settings, dict)
    own = {
        "max_steps": -1 if settings["max_steps"] is None else settings["max_steps"],
        "max_epochs": -1 if settings["max_epochs"] is None else settings["max_epochs"],
        "limit_val_batches": settings.get("limit_val_batches", 1.0) if len(data.validation_ids) else 0,
        "check_val_every_n_epoch": None,  # val_check_interval counts steps over epochs
        "num_sanity_val_steps": 0,
        "logger": logger,
        "callbacks": callbacks,
        "plugins": [AtomicCheckpointIO()],
        "enable_progress_bar": False,  # `Progress` shows one bar for the whole run instead of one per epoch
        "enable_model_summary": False,
    }
    try:
        trainer: lightning.Trainer = instantiate(settings, **own)
    except InstantiationException as error:
        cause = error.__cause__ or error
        if "accelerator" in str(cause).lower() or "backend" in str(cause) or isinstance(cause, ImportError):
            there = {"mps": torch.backends.mps.is_available(), "gpu": torch.cuda.is_available(), "cpu": True}
            usable = ", ".join(name for name, available in there.items() if available)
            raise RequestError(
                f"trainer.accelerator={accelerator} is not available here, this machine has {usable}; "
                "write trainer=auto or trainer=cpu"
            ) from error
        raise RequestError(f"trainer: these settings can't be used: {one_line(cause)}") from error
    if precision == "16-mixed" and trainer.strategy.root_device.type == "cpu":
        raise RequestError("trainer.precision=16-mixed needs a GPU; on a CPU write trainer.precision=bf16-mixed")
    return trainer


def resumable(resume_from: object, network: CharRNN, data: CharDataModule) -> str | None:
    if resume_from is None:
        return None
    path = Path(str(resume_from)).expanduser()
    about = checkpoint_file.read(path)["charrnn"]
    if about["vocabulary"] != data.vocabulary.characters:
        raise RequestError(f"resume_from: {path} was trained on other characters; resume with its own data settings")
    different = {key for key, value in network.settings.items() if about["network"].get(key) != value} - {"kernel"}
    if different:
        was = ", ".join(f"model.{key}={about['network'].get(key)}" for key in sorted(different))
        raise RequestError(f"resume_from: {path} holds another network; resume it with {was}")
    return str(path)
