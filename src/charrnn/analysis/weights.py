"""Statistics of weight matrices: the spectrum of W_hh, and the relative size of an optimizer step.

H hidden unit.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.network import CharRNN
from charrnn.network.elman import ElmanCell


def recurrent_matrices(network: CharRNN) -> list[Tensor]:
    """Return W_hh [H, H] of every Elman layer, lowest first; gated layers have no single recurrent matrix."""
    return [cell.hidden_to_hidden.detach() for cell in network.cells if isinstance(cell, ElmanCell)]


def eigenvalues(weight_HH: Tensor) -> NDArray[np.complexfloating]:
    """Return the eigenvalues of a square matrix, [H], in no particular order."""
    values: NDArray[np.complexfloating] = torch.linalg.eigvals(_on_cpu(weight_HH)).numpy()
    return values


def spectral_radius(weight_HH: Tensor) -> float:
    """Return max |lambda_i|: in the long run, a linear network multiplies its state by this factor per step."""
    return float(np.abs(eigenvalues(weight_HH)).max())


def singular_values(weight_HH: Tensor) -> NDArray[np.floating]:
    """Return the singular values, [H], largest first: the factors by which one step scales directions of the state."""
    values: NDArray[np.floating] = torch.linalg.svdvals(_on_cpu(weight_HH)).numpy()
    return values


def update_ratio(before: Tensor, after: Tensor) -> float:
    """Return the relative size of an update, ||W_after - W_before|| / ||W_after||; 0 for a zero matrix."""
    size = torch.linalg.vector_norm(after)
    return float(torch.linalg.vector_norm(after - before) / size) if size else 0.0


def _on_cpu(weight_HH: Tensor) -> Tensor:
    """Return the matrix on the CPU in at least float32: LAPACK has no bfloat16."""
    return weight_HH.detach().cpu().to(torch.promote_types(weight_HH.dtype, torch.float32))
