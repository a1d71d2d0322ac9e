"""What single hidden units do along a text: their activations and which feature each follows.

U unit, counted through the layers from the lowest; N symbol of the text; F feature; K bin; L layer, H unit of a layer,
T time step, B batch lane. A unit's activation at n is its h_t after symbol n was read (of an LSTM h, not c).
Source of the idea: Karpathy, Johnson, Fei-Fei 2015.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.analysis.states import SATURATED
from charrnn.data.vocabulary import Ids
from charrnn.network.char_rnn import CharRNN, read_chunks
from charrnn.utils.errors import RequestError

MOST_VALUES = 1 << 25  # activations that are held in memory: 134 MB, 65,536 symbols for 512 units
BINS = 40
UNITS_AT_ONCE = 64  # their activations in float64 are a few times 10 MB
COLOR_QUANTILE = 0.995  # of |h|; the rare values above have the full color too

Floats = NDArray[np.floating]


def readable_symbols(network: CharRNN) -> int:
    """How many symbols of a text can be read at once, so that the activations fit into memory."""
    units: int = network.settings["hidden"] * network.settings["layers"]
    return max(1, MOST_VALUES // units)


def read_states(network: CharRNN, ids: Ids) -> NDArray[np.float32]:
    """The activations of all units over the text, [U, N], from a zero state, in one lane.

    Raises `RequestError` for a text without symbols, and for a network whose activations are no numbers.
    """
    if not len(ids):
        raise RequestError("a text to read needs at least 1 character, got none")
    states_UN = np.empty((network.settings["layers"] * network.settings["hidden"], len(ids)), dtype=np.float32)
    ids_TB, read = torch.from_numpy(ids.astype(np.int64))[:, None], 0
    for states_LTBH, *_ in read_chunks(network, [(ids_TB, ids_TB, True)], unroll=network.unroll_layers):
        states_UT = states_LTBH[:, :, 0].transpose(1, 2).flatten(0, 1)
        states_UN[:, read : read + states_UT.shape[1]] = states_UT.float().cpu().numpy()
        read += states_UT.shape[1]
    if not np.isfinite(states_UN).all():
        raise RequestError("the network's activations are no numbers (NaN or infinite); take another checkpoint")
    return states_UN


def correlations(states_UN: Floats, features_FN: Floats) -> NDArray[np.float64]:
    """Pearson's correlation of every unit with every feature, [U, F]; 0 where one of the two does not change."""
    features_FN = _standardized(features_FN)
    blocks = range(0, len(states_UN), UNITS_AT_ONCE)
    return np.concatenate(
        [_standardized(states_UN[i : i + UNITS_AT_ONCE]) @ features_FN.T / features_FN.shape[1] for i in blocks]
    )


def _standardized(values_XN: Floats) -> NDArray[np.float64]:
    """Every row with mean 0 and deviation 1, or all 0."""
    centered_XN = values_XN - values_XN.mean(axis=1, keepdims=True, dtype=np.float64)
    deviations_X1 = np.sqrt(np.square(centered_XN).mean(axis=1, keepdims=True))
    still_X1 = deviations_X1 <= 1e-7 * np.abs(values_XN).max(axis=1, keepdims=True)  # what is left is rounding
    result: NDArray[np.float64] = np.where(still_X1, 0, centered_XN / np.where(still_X1, 1, deviations_X1))
    return result


def most_telling(correlations_UF: Floats, count: int) -> NDArray[np.intp]:
    """`count` units: those that follow one of the features best, then the second best of each, and so on."""
    by_feature_UF = np.argsort(-np.abs(correlations_UF), axis=0, kind="stable")
    units, first = np.unique(by_feature_UF, return_index=True)
    chosen: NDArray[np.intp] = units[np.argsort(first)][:count]
    return chosen


@dataclass(frozen=True)
class Activity:
    """How strongly units are active over a text.

    `peaks_U`, the largest |h|; `scales_U`, the |h| of the full color; `histograms_UK`, shares of the text in bins from
    `low` to 1 (`low` is -1, or 0 for ReLU), in units of `ranges_U`;
    `flat_U`, the share of the text in which almost no error gets through: |h| > SATURATED, or for ReLU h = 0.
    """

    low: int
    peaks_U: NDArray[np.float64]
    scales_U: NDArray[np.float64]
    ranges_U: NDArray[np.float64]
    histograms_UK: NDArray[np.float64]
    flat_U: NDArray[np.float64]


def activity(states_UN: Floats, network: CharRNN) -> Activity:
    """The activity of the network's units; tanh has the fixed scale 1, other activations each unit its own."""
    kind = network.settings.get("activation", "gates")
    size_UN = np.abs(states_UN)
    peaks_U = size_UN.max(axis=1).astype(np.float64)
    ranges_U = np.where(peaks_U > 0, peaks_U, 1) if kind == "relu" else np.ones(len(peaks_U))
    quantiles_U = ranges_U if kind == "tanh" else np.quantile(size_UN, COLOR_QUANTILE, axis=1).astype(np.float64)
    scales_U = np.where(quantiles_U > 0, quantiles_U, ranges_U)
    low = 0 if kind == "relu" else -1
    flat_UN = states_UN <= 0 if kind == "relu" else size_UN > SATURATED
    rows = zip(states_UN, ranges_U, strict=True)
    counts_UK = np.array([np.histogram(states_N, BINS, (low * limit, limit))[0] for states_N, limit in rows])
    shares_UK, flat_U = counts_UK / states_UN.shape[1], flat_UN.mean(axis=1, dtype=np.float64)
    return Activity(low, peaks_U, scales_U, ranges_U, shares_UK, flat_U)
