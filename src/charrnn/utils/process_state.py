"""Collect the rank-local states of a run, lane states and RNG states, in one checkpoint and restore them.

L layer, B lane (of all ranks), S state size.
"""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed


def gather(value: Any) -> list[Any]:
    """Return the values of all ranks in rank order. A collective operation: every rank must call it."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def gather_state(state_LBS: Tensor | None) -> dict[str, Any]:
    """Return the checkpoint entries with the lane states and RNG states of all ranks. A collective operation."""
    states = gather(None if state_LBS is None else state_LBS.cpu())
    generators = gather(rng_state())
    return {
        "train_state": None if states[0] is None else torch.cat(states, dim=1),
        "random": generators[0],
        "random_of_others": generators[1:],
    }


def state_of_rank(saved: dict[str, Any], rank: int, size: int) -> tuple[Tensor | None, dict[str, Any] | None]:
    """Return the lane states and the RNG state of one of `size` ranks; None if the checkpoint has none for it."""
    state_LBS = saved["train_state"]
    generators = [saved["random"], *saved.get("random_of_others", [])]
    own_LBS = None if state_LBS is None else state_LBS.tensor_split(size, dim=1)[rank]
    return own_LBS, generators[rank] if rank < len(generators) else None


def rng_state() -> dict[str, Any]:
    """Return the states of the random generators of Python, NumPy and torch (all devices) as plain values."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # the global generator, which libraries use
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, [int(key) for key in keys], position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore_rng_state(state: dict[str, Any]) -> None:
    """Restore the random generators from `rng_state`; devices that this machine lacks are skipped."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if torch.backends.mps.is_available() and state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])
