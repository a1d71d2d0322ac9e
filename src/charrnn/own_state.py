"""What every process of a run has of its own, and how a checkpoint holds that of all: lanes' states and generators.

L layer, B batch lane of all processes, S state size.
"""

from typing import Any

import torch
from torch import Tensor

from charrnn import randomness
from charrnn.ranks import gather


def gather_own(state_LBS: Tensor | None) -> dict[str, Any]:
    """The entries of a checkpoint, from the state of this process's lanes and its generators. All call it together."""
    states = gather(None if state_LBS is None else state_LBS.cpu())
    generators = gather(randomness.current())
    return {
        "train_state": None if states[0] is None else torch.cat(states, dim=1),
        "random": generators[0],
        "random_of_others": generators[1:],
    }


def own_of(saved: dict[str, Any], rank: int, size: int) -> tuple[Tensor | None, dict[str, Any] | None]:
    """The state of this process's lanes, and its generators: None for one that there was not when it was saved."""
    state_LBS = saved["train_state"]
    generators = [saved["random"], *saved.get("random_of_others", [])]
    return (
        None if state_LBS is None else state_LBS.tensor_split(size, dim=1)[rank],
        generators[rank] if rank < len(generators) else None,
    )
