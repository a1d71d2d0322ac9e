"""What the hidden units do along a text: saturation, dead units, the norm of the state.

B batch lane, T time step, H hidden unit, L layer, S state size of one layer.
"""

import torch
from torch import Tensor

from charrnn.network.char_rnn import CharRNN, read_chunks

SATURATED = 0.97  # |h| above it: tanh' = 1 - h^2 is below 0.06, so hardly a twentieth of an error gets through


def sample_states(network: CharRNN, ids_TB: Tensor, every: int) -> Tensor:
    """The state after each `every` characters of lanes that start from a zero state, [T // every, L, B, S]."""
    whole_TB = ids_TB[: len(ids_TB) // every * every]
    return torch.stack([state for *_, state in read_chunks(network, [(whole_TB, whole_TB, True)], chunk=every)])


def state_norm(states: Tensor) -> float:
    """The mean of ||h|| over all states [..., H]."""
    return float(torch.linalg.vector_norm(states.float(), dim=-1).mean())


def saturated_share(states: Tensor) -> float:
    """The share of tanh activations [...] with |h| > SATURATED: they let through almost no error."""
    return float((states.abs() > SATURATED).float().mean())


def dead_share(states: Tensor) -> float:
    """The share of ReLU units that are 0 in all states [..., H]: they neither act nor learn."""
    return float((states <= 0).flatten(0, -2).all(dim=0).float().mean())


def always_active_share(states: Tensor) -> float:
    """The share of ReLU units that are above 0 in all states [..., H]: they are linear."""
    return float((states > 0).flatten(0, -2).all(dim=0).float().mean())
