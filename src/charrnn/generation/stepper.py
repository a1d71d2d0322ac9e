"""Single time steps without gradients, for generation: in NumPy for the plain network, else in torch.

For a step of a small network, torch spends most of the time on call overhead; NumPy has less.
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
    """Read the ids from a zero state; return the logits [B, V] after the last one, and the state [L, B, S]."""
    read_TB = torch.from_numpy(ids_TB.astype(np.int64))
    ((logits_TBV, _, state_LBS),) = deque(read_chunks(network, [(read_TB, read_TB, True)]), maxlen=1)
    return logits_TBV[-1], state_LBS


def stepper(network: CharRNN, state_LBS: Tensor) -> Step:
    """Return the faster stepper for this network, starting from the state; the weights must not change later."""
    return (numpy_stepper if network.settings["cell"] == "elman" else torch_stepper)(network, state_LBS)


def torch_stepper(network: CharRNN, state_LBS: Tensor) -> Step:
    """Return a stepper that calls `network.step`, for every kind of cell, on the network's device."""

    def step(ids_B: NDArray[np.integer]) -> Floats:
        nonlocal state_LBS
        with evaluating(network):
            logits_BV, state_LBS = network.step(torch.from_numpy(ids_B).to(state_LBS.device), state_LBS)
        return as_floats(logits_BV)

    return step


def numpy_stepper(network: CharRNN, state_LBS: Tensor) -> Step:
    """Return a NumPy stepper on the CPU: h_t = phi(W_xh x_t + W_hh h_{t-1} + b_h) per layer, y_t = W_hy h_t + b_y."""
    activation: Callable[..., Floats] = np.tanh if network.settings["activation"] == "tanh" else partial(np.maximum, 0)
    residual = network.settings["residual"]
    cells = [{name: as_floats(values) for name, values in cell.named_parameters()} for cell in network.cells]
    # Transposed, so that a row of the table is one symbol's input; contiguous, so that `dot` needs no copy.
    table_VH = np.ascontiguousarray(cells[0]["input_to_hidden"].T) + cells[0]["hidden_bias"]
    inputs = [np.ascontiguousarray(cell["input_to_hidden"].T) for cell in cells[1:]]
    recurrent = [np.ascontiguousarray(cell["hidden_to_hidden"].T) for cell in cells]
    output_HV = np.ascontiguousarray(as_floats(network.hidden_to_output).T)
    output_bias_V = as_floats(network.output_bias)
    states = [as_floats(state_BH).copy() for state_BH in state_LBS]

    def step(ids_B: NDArray[np.integer]) -> Floats:
        x_BH: Floats = table_VH.take(ids_B, axis=0)  # three times as fast as indexing
        for layer, state_BH in enumerate(states):
            skip_BH = x_BH
            if layer:
                x_BH = x_BH.dot(inputs[layer - 1])  # much faster than @ for a single text
                x_BH += cells[layer]["hidden_bias"]
            x_BH += state_BH.dot(recurrent[layer])
            activation(x_BH, out=state_BH)
            x_BH = state_BH + skip_BH if residual and layer else state_BH
        logits_BV: Floats = x_BH.dot(output_HV)
        logits_BV += output_bias_V
        return logits_BV

    return step


def as_floats(values: Tensor) -> Floats:
    """Return the tensor as a NumPy array in float32 or wider."""
    array: Floats = values.detach().to(torch.promote_types(values.dtype, torch.float32)).cpu().numpy()
    return array
