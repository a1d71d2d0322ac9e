"""Check which settings exist and which values no run can have, before anything is built."""

import math
import re
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from charrnn.utils.config import flattened, plain
from charrnn.utils.errors import RequestError
from charrnn.utils.paths import CONF
from charrnn.utils.validation import require_choice, require_flag, require_integer, require_number

GROUPS = ("model", "data", "optimizer", "scheduler", "trainer", "callbacks", "logger")
OF_MANY = ("callbacks", "logger")  # groups that name any number of classes
GROUP_KEYS = {
    "recovery": ("retries", "factor", "explosion", "patience"),
    "sweep": ("resume",),
}  # groups that name no class
TOP_LEVEL_KEYS = (
    *GROUPS, "seed", "threads", "tf32", "cuda_graph", "resume_from", "resume_with_changes", "init_from",
    "init_new_symbols", "checkpoint_every", "checkpoint_minutes", "keep_every", "keep_best", "max_minutes", "recovery",
    "dry_run", "sweep",
)  # fmt: skip
# Arguments of the Trainer that a run sets itself, and those that would end it at another step than its schedule.
OWN_TRAINER_KEYS = (
    "logger", "callbacks", "plugins", "default_root_dir", "enable_checkpointing", "enable_progress_bar",
    "enable_model_summary", "num_sanity_val_steps", "check_val_every_n_epoch", "fast_dev_run", "strategy",
    "use_distributed_sampler", "barebones", "max_time", "min_steps", "min_epochs", "limit_train_batches",
    "limit_val_batches", "overfit_batches", "reload_dataloaders_every_n_epochs",
)  # fmt: skip
INTEGERS = (
    "seed", "keep_every", "keep_best", "trainer.max_steps", "trainer.max_epochs", "trainer.val_check_interval",
    "trainer.log_every_n_steps", "trainer.accumulate_grad_batches", "trainer.devices", "trainer.num_nodes",
)  # fmt: skip
# The values of trainer.precision, each with the dtype in which the network computes.
PRECISIONS = {
    "32-true": torch.float32,
    "bf16-mixed": torch.bfloat16,
    "bf16-true": torch.bfloat16,
    "16-mixed": torch.float16,
    "64-true": torch.float64,
}

OLD_LIGHTNING = re.compile(r"(pytorch_lightning|pl)\.")  # the older package of the same library


def check_keys(cfg: DictConfig) -> None:
    """Raise `RequestError` for an unknown setting and for one without a value."""
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    for key in (set(cfg) - set(TOP_LEVEL_KEYS)) & set(choices):
        raise RequestError(
            f"{key}={choices[key]}: its settings have no effect; write '# @package _global_' as its file's first line"
        )
    for key in (key for key in GROUPS if key not in cfg):
        raise RequestError(f"{key} is missing; choose an option with {key}=NAME (python train.py --help lists them)")
    for key in set(cfg) ^ set(TOP_LEVEL_KEYS):
        problem = "is not a setting" if key in cfg else "is missing"
        raise RequestError(f"{key} {problem}; the top-level settings are {', '.join(TOP_LEVEL_KEYS)}")
    for key in (*GROUPS, *GROUP_KEYS):
        if not OmegaConf.is_dict(cfg[key]):
            own = f"a group of settings, such as {key}.{GROUP_KEYS[key][0]}" if key in GROUP_KEYS else ""
            options = "one of the options that python train.py --help lists"
            raise RequestError(f"{key} must be {own or options}, got {cfg[key]!r}")
    for key in (key for key in GROUPS if key not in OF_MANY and "_target_" not in cfg[key]):
        raise RequestError(
            f"{key} names no class; choose an option with {key}=NAME (python train.py --help lists them)"
        )
    require_flag("dry_run", cfg.dry_run)
    for group, known in GROUP_KEYS.items():
        for key in set(cfg[group]) - set(known):
            raise RequestError(f"{group}.{key} is not a setting of {group}, which has {', '.join(known)}")
    require_flag("sweep.resume", cfg.sweep.get("resume"))
    for key in sorted(OmegaConf.missing_keys(cfg)):
        raise RequestError(f"{key} has no value; add {key}=VALUE to the command")
    _make_integers(cfg)
    for key in set(cfg.trainer) & set(OWN_TRAINER_KEYS):
        advice = "use max_minutes" if key == "max_time" else "remove it (see python train.py --help)"
        raise RequestError(f"trainer.{key} is set by the run itself; {advice}")
    for key, value in flattened(OmegaConf.to_container(cfg, resolve=False)).items():
        if key.endswith("_target_") and (old := OLD_LIGHTNING.match(str(value))):
            new = f"lightning.pytorch.{str(value).removeprefix(old[0])}"
            raise RequestError(f"{key}={value} is of another package than this project uses; write {key}={new}")
    _check_cell(cfg.model)


def _check_cell(model: DictConfig) -> None:
    """Raise `RequestError` for a cell that was named without the settings of its option: they differ."""
    option = CONF / "model" / f"{model.get('cell')}.yaml"
    if not option.is_file():
        return
    known = set(OmegaConf.load(option))
    for key in sorted(set(model) - known):
        if any(key in OmegaConf.load(other) for other in option.parent.glob("*.yaml")):
            raise RequestError(f"model.{key} is not a setting of {model.cell}; choose its settings: model={model.cell}")


def _make_integers(cfg: DictConfig) -> None:
    """Turn whole numbers that are written as floats, such as 1e4, into integers where Lightning needs them."""
    for key in INTEGERS:
        value = OmegaConf.select(cfg, key)
        if isinstance(value, float) and value.is_integer():
            OmegaConf.update(cfg, key, int(value))


def run_length(trainer: DictConfig, batches_per_epoch: int) -> int:
    """Return the optimizer steps of the run: the first of the two limits that is reached; None and -1 mean no limit."""
    accumulate = require_integer("trainer.accumulate_grad_batches", trainer.accumulate_grad_batches)
    limits = []
    if trainer.max_steps not in (None, -1):
        limits.append(require_integer("trainer.max_steps", trainer.max_steps))
    if trainer.max_epochs not in (None, -1):
        epochs = require_integer("trainer.max_epochs", trainer.max_epochs)
        limits.append(epochs * math.ceil(batches_per_epoch / accumulate))
    if not limits:
        raise RequestError("a run needs a length: set trainer.max_steps or trainer.max_epochs to a positive integer")
    return min(limits)


def trainer_settings(cfg: DictConfig) -> dict[str, Any]:
    """Return the arguments of the Trainer; raise `RequestError` for those that a run can't have."""
    settings = plain(cfg.trainer)
    require_choice("trainer.precision", settings["precision"], tuple(PRECISIONS))
    require_choice("trainer.gradient_clip_algorithm", settings["gradient_clip_algorithm"], ("norm", "value"))
    if settings["deterministic"] not in (True, False, "warn"):
        raise RequestError(f"trainer.deterministic must be true, false or warn, got {settings['deterministic']!r}")
    clip = settings["gradient_clip_val"]
    if clip is not None and require_number("trainer.gradient_clip_val", clip, 0.0) == 0:
        raise RequestError("trainer.gradient_clip_val=0 would stop all learning; use null for no clipping")
    for limit in ("max_steps", "max_epochs"):
        settings[limit] = -1 if settings[limit] is None else settings[limit]
    return settings
