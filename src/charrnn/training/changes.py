"""Resume a run with other settings: which may change, and how its checkpoint is adapted to them."""

import copy
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from charrnn.training.builders import build_optimizer, build_scheduler

# What a run may change when `resume_with_changes=true`. The network and the text must stay: see init_from for those.
RATE_SETTINGS = ("optimizer.", "scheduler.")
BATCH_SETTINGS = (
    "data.batch_size.", "data.sequence_length.", "data.order.", "data.seed.", "trainer.accumulate_grad_batches.",
)  # fmt: skip
OTHER_SETTINGS = (
    "model.dropout.", "model.input_dropout.", "model.label_smoothing.", "trainer.precision.",
    "trainer.gradient_clip_val.", "trainer.gradient_clip_algorithm.", "tf32.",
)  # fmt: skip
CHANGEABLE = (*RATE_SETTINGS, *BATCH_SETTINGS, *OTHER_SETTINGS)


def can_change(key: str) -> bool:
    """Return whether a run may be resumed with another value of this setting."""
    return f"{key}.".startswith(CHANGEABLE)


def adapted(checkpoint: dict[str, Any], changed: list[str], cfg: DictConfig, steps: int) -> dict[str, Any]:
    """Return the checkpoint as the new settings need it; `changed` are their keys, `steps` the length of the run.

    A new rate or schedule holds as if the run had had it from its first step. The optimizer keeps its averages, unless
    its class changed. With other batches, the training text is read from its start again, from a zero state.
    """
    checkpoint = copy.deepcopy(checkpoint)
    if any(f"{key}.".startswith(RATE_SETTINGS) for key in changed):
        _set_rates(checkpoint, cfg, steps, new_class="optimizer._target_" in changed)
    if any(f"{key}.".startswith(BATCH_SETTINGS) for key in changed):
        _read_from_the_start(checkpoint)
    return checkpoint


def _set_rates(checkpoint: dict[str, Any], cfg: DictConfig, steps: int, *, new_class: bool) -> None:
    optimizer = build_optimizer(cfg)([nn.Parameter(torch.zeros(2, 2))])
    scheduler = build_scheduler(cfg, steps)(optimizer)
    optimizer.step()  # torch warns about a schedule that is ahead of its optimizer
    if not isinstance(scheduler, ReduceLROnPlateau):  # which has seen no validation loss yet
        for _ in range(checkpoint["global_step"]):
            scheduler.step()
    checkpoint["lr_schedulers"] = [scheduler.state_dict()]
    (group,) = optimizer.param_groups
    (saved,) = checkpoint["optimizer_states"]
    saved["param_groups"] = [{**group, "params": saved["param_groups"][0]["params"]}]
    if new_class:
        saved["state"] = {}


def _read_from_the_start(checkpoint: dict[str, Any]) -> None:
    checkpoint["charrnn"] |= {"train_state": None, "losses": [], "losses_of": [], "gradient_norms": []}
    loop = checkpoint["loops"]["fit_loop"]
    loop["state_dict"]["combined_loader"] = [{"position": 0, "epoch": 0}]
    progress = loop["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        counts.update(dict.fromkeys(counts, 0))
    progress["is_last_batch"] = False
