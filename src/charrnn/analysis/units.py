"""Compute the activations of single hidden units along a text, and which text feature each unit follows.

U unit, numbered through all layers from the lowest; N symbol of the text; F feature; K bin; L layer, H unit of a layer,
T time step, B batch lane. A unit's activation at n is its h_t after symbol n was read (for an LSTM h, not c).
Source of the idea: Karpathy, Johnson, Fei-Fei 2015.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.data.vocabulary import Ids
from charrnn.network.char_rnn import CharRNN, read_chunks
from charrnn.utils.errors import RequestError

MAX_ACTIVATIONS = 1 << 25  # held in memory: 134 MB, or 65,536 symbols for 512 units
BINS = 40
UNITS_PER_BLOCK = 64  # keeps the float64 copy of their activations to a few 10 MB
FULL_COLOR_QUANTILE = 0.995  # a quantile of |h| instead of the maximum, so that rare peaks do not make all others pale

Floats = NDArray[np.floating]


def max_symbols(network: CharRNN) -> int:
    """Return the number of symbols whose activations fit into MAX_ACTIVATIONS."""
    units: int = network.settings["hidden"] * network.settings["layers"]
    return max(1, MAX_ACTIVATIONS // units)


def read_states(network: CharRNN, ids: Ids) -> NDArray[np.float32]:
    """Return the activations of all units over the text, [U, N], read from a zero state in one lane.

    Raises `RequestError` for an empty text, and if an activation is NaN or infinite.
    """
    if not len(ids):
        raise RequestError("the text is empty; it needs at least 1 character")
    states_UN = np.empty((network.settings["layers"] * network.settings["hidden"], len(ids)), dtype=np.float32)
    ids_TB, read = torch.from_numpy(ids.astype(np.int64))[:, None], 0
    for states_LTBH, *_ in read_chunks(network, [(ids_TB, ids_TB, True)], unroll=network.unroll_layers):
        states_UT = states_LTBH[:, :, 0].transpose(1, 2).flatten(0, 1)
        states_UN[:, read : read + states_UT.shape[1]] = states_UT.float().cpu().numpy()
        read += states_UT.shape[1]
    if not np.isfinite(states_UN).all():
        raise RequestError("the network's activations are NaN or infinite; use another checkpoint")
    return states_UN


def correlations(states_UN: Floats, features_FN: Floats) -> NDArray[np.float64]:
    """Return Pearson's correlation of every unit with every feature, [U, F]; 0 if one of the two is constant."""
    features_FN = _standardized(features_FN)
    blocks = range(0, len(states_UN), UNITS_PER_BLOCK)
    return np.concatenate(
        [_standardized(states_UN[i : i + UNITS_PER_BLOCK]) @ features_FN.T / features_FN.shape[1] for i in blocks]
    )


def _standardized(values_XN: Floats) -> NDArray[np.float64]:
    """Return the rows with mean 0 and standard deviation 1; constant rows become 0."""
    centered_XN = values_XN - values_XN.mean(axis=1, keepdims=True, dtype=np.float64)
    deviations_X1 = np.sqrt(np.square(centered_XN).mean(axis=1, keepdims=True))
    constant_X1 = deviations_X1 <= 1e-7 * np.abs(values_XN).max(axis=1, keepdims=True)  # up to rounding
    result: NDArray[np.float64] = np.where(constant_X1, 0, centered_XN / np.where(constant_X1, 1, deviations_X1))
    return result


@dataclass(frozen=True)
class Activity:
    """How strongly each unit is active over a text.

    `scales_U`: the |h| that is drawn in full color. `histograms_UK`: the share of the text
    in each bin of h / `ranges_U`, from `low` (-1, or 0 for ReLU) to 1.
    """

    low: int
    scales_U: NDArray[np.float64]
    ranges_U: NDArray[np.float64]
    histograms_UK: NDArray[np.float64]


def activity(states_UN: Floats, network: CharRNN) -> Activity:
    """Compute the activity of all units; the color scale is 1 for tanh, and per unit for other activations."""
    kind = network.settings.get("activation", "gates")
    size_UN = np.abs(states_UN)
    peaks_U = size_UN.max(axis=1).astype(np.float64)
    ranges_U = np.where(peaks_U > 0, peaks_U, 1) if kind == "relu" else np.ones(len(peaks_U))
    quantiles_U = ranges_U if kind == "tanh" else np.quantile(size_UN, FULL_COLOR_QUANTILE, axis=1).astype(np.float64)
    scales_U = np.where(quantiles_U > 0, quantiles_U, ranges_U)
    low = 0 if kind == "relu" else -1
    rows = zip(states_UN, ranges_U, strict=True)
    counts_UK = np.array([np.histogram(states_N, BINS, (low * limit, limit))[0] for states_N, limit in rows])
    return Activity(low, scales_U, ranges_U, counts_UK / states_UN.shape[1])
