"""What a weight matrix says by itself: its spectrum, and how far a step of the optimizer moved it.

H hidden unit.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.network import CharRNN
from charrnn.network.elman import ElmanCell


def recurrent_matrices(network: CharRNN) -> list[Tensor]:
    """W_hh [H, H] of every plain layer, from the lowest up; none for gated layers, where no single matrix carries."""
    return [cell.hidden_to_hidden.detach() for cell in network.cells if isinstance(cell, ElmanCell)]


def eigenvalues(weight_HH: Tensor) -> NDArray[np.complexfloating]:
    """The eigenvalues of a square matrix, [H], in no order."""
    values: NDArray[np.complexfloating] = torch.linalg.eigvals(_on_cpu(weight_HH)).numpy()
    return values


def spectral_radius(weight_HH: Tensor) -> float:
    """rho(W) = max |lambda_i|: by what a linear network multiplies its state per step, in the long run."""
    return float(np.abs(eigenvalues(weight_HH)).max())


def singular_values(weight_HH: Tensor) -> NDArray[np.floating]:
    """The singular values, [H], largest first: by what one step stretches or shrinks a direction of the state."""
    values: NDArray[np.floating] = torch.linalg.svdvals(_on_cpu(weight_HH)).numpy()
    return values


def update_ratio(before: Tensor, after: Tensor) -> float:
    """||W_after - W_before|| / ||W_after||: the share of a matrix that one step exchanged; 0 for a zero matrix."""
    size = torch.linalg.vector_norm(after)
    return float(torch.linalg.vector_norm(after - before) / size) if size else 0.0


def _on_cpu(weight_HH: Tensor) -> Tensor:
    """Where LAPACK is; in float32 at least, since it knows no bfloat16."""
    return weight_HH.detach().cpu().to(torch.promote_types(weight_HH.dtype, torch.float32))
