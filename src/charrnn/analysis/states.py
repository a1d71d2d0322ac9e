"""Statistics of the hidden states along a text: saturation, dead units, norm.

B batch lane, T time step, H hidden unit, L layer, S state size of one layer.
"""

import torch
from torch import Tensor

from charrnn.network.char_rnn import CharRNN, read_chunks

SATURATION_THRESHOLD = 0.97  # where |h| is larger, tanh' = 1 - h^2 is below 0.06: 94% of the gradient is lost


def sample_states(network: CharRNN, ids_TB: Tensor, every: int) -> Tensor:
    """Return the states after every `every` characters, reading from a zero state, [T // every, L, B, S]."""
    read_TB = ids_TB[: len(ids_TB) // every * every]
    return torch.stack([state for *_, state in read_chunks(network, [(read_TB, read_TB, True)], chunk=every)])


def state_norm(states: Tensor) -> float:
    """Return the mean of ||h|| over all states [..., H]."""
    return float(torch.linalg.vector_norm(states.float(), dim=-1).mean())


def saturated_share(states: Tensor) -> float:
    """Return the share of tanh activations [...] with |h| > SATURATION_THRESHOLD, where almost no gradient passes."""
    return float((states.abs() > SATURATION_THRESHOLD).float().mean())


def dead_share(states: Tensor) -> float:
    """Return the share of ReLU units that are 0 in all states [..., H]: they have no output and no gradient."""
    return float((states <= 0).flatten(0, -2).all(dim=0).float().mean())


def always_active_share(states: Tensor) -> float:
    """Return the share of ReLU units that are above 0 in all states [..., H]: they act linearly."""
    return float((states > 0).flatten(0, -2).all(dim=0).float().mean())
