"""One time step after the other without gradients, for writing text: in NumPy for the plain network, else in torch.

A step of a small network is so short that torch spends most of it on calling its operations; NumPy does not.
B sample, V vocabulary, H hidden unit, L layer, S state size of one layer.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.network.char_rnn import CharRNN, evaluating, read_chunks

Floats = NDArray[np.floating]
Step = Callable[[NDArray[np.integer]], Floats]  # ids [B] in, logits of the next symbols [B, V] out


def read_text(network: CharRNN, ids_TB: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
    """The logits [B, V] after the last of the ids and the state [L, B, S], from a zero state."""
    read_TB = torch.from_numpy(ids_TB.astype(np.int64))
    ((logits_TBV, _, state_LBS),) = deque(read_chunks(network, [(read_TB, read_TB, True)]), maxlen=1)
    return logits_TBV[-1], state_LBS


def stepper(network: CharRNN, state_LBS: Tensor) -> Step:
    """The faster way to go on from the state, with the weights as they are now."""
    return (numpy_stepper if network.settings["cell"] == "elman" else torch_stepper)(network, state_LBS)


def torch_stepper(network: CharRNN, state_LBS: Tensor) -> Step:
    """`network.step`, for every kind of cell, where the network is."""

    def step(ids_B: NDArray[np.integer]) -> Floats:
        nonlocal state_LBS
        with evaluating(network):
            logits_BV, state_LBS = network.step(torch.from_numpy(ids_B).to(state_LBS.device), state_LBS)
        return as_floats(logits_BV)

    return step


def numpy_stepper(network: CharRNN, state_LBS: Tensor) -> Step:
    """h_t = phi(W_xh x_t + W_hh h_{t-1} + b_h), y_t = W_hy h_t + b_y, layer by layer, in NumPy on the CPU."""
    activation: Callable[..., Floats] = np.tanh if network.settings["activation"] == "tanh" else partial(np.maximum, 0)
    residual = network.settings["residual"]
    cells = [{name: as_floats(values) for name, values in cell.named_parameters()} for cell in network.cells]
    # Transposed and contiguous: a row of the table is one symbol's input, and B rows times a matrix is one call.
    table_VH = np.ascontiguousarray(cells[0]["input_to_hidden"].T) + cells[0]["hidden_bias"]
    inputs = [np.ascontiguousarray(cell["input_to_hidden"].T) for cell in cells[1:]]
    recurrent = [np.ascontiguousarray(cell["hidden_to_hidden"].T) for cell in cells]
    output_HV = np.ascontiguousarray(as_floats(network.hidden_to_output).T)
    output_bias_V = as_floats(network.output_bias)
    states = [as_floats(state_BH).copy() for state_BH in state_LBS]

    def step(ids_B: NDArray[np.integer]) -> Floats:
        x_BH: Floats = table_VH.take(ids_B, axis=0)  # three times as fast as an index
        for layer, state_BH in enumerate(states):
            below_BH = x_BH
            if layer:
                x_BH = x_BH.dot(inputs[layer - 1])  # for one text much faster than @
                x_BH += cells[layer]["hidden_bias"]
            x_BH += state_BH.dot(recurrent[layer])
            activation(x_BH, out=state_BH)
            x_BH = state_BH + below_BH if residual and layer else state_BH
        logits_BV: Floats = x_BH.dot(output_HV)
        logits_BV += output_bias_V
        return logits_BV

    return step


def as_floats(values: Tensor) -> Floats:
    """The tensor as an array in memory, in float32 at least."""
    array: Floats = values.detach().to(torch.promote_types(values.dtype, torch.float32)).cpu().numpy()
    return array
