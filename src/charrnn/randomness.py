"""The state of all random generators, as plain values that a checkpoint may hold."""

import random
from typing import Any

import numpy as np
import torch


def current() -> dict[str, Any]:
    """The state of Python's, NumPy's and torch's generators, on every device there is."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # the one that libraries draw from
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, [int(key) for key in keys], position, has_gauss, cached],
        **current_torch(),
    }


def current_torch() -> dict[str, Any]:
    """The state of torch's generators alone: all that a training step draws from, and quick to take."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore(state: dict[str, Any]) -> None:
    """Put all generators into a state that `current` gave; devices that are not here are left out."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    restore_torch(state)


def restore_torch(state: dict[str, Any]) -> None:
    """Put torch's generators into a state that `current_torch` or `current` gave."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if torch.backends.mps.is_available() and state["mps"] is not None:
        torch.mps.set_rng_state(state["mps"])
