"""A page about the hidden units of a network: a text in their colors, what each follows, all of them over one line.

U unit, counted through the layers from the lowest; N symbol of the text; F feature; P piece of the text that a reader
sees as one character.
"""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.analysis.states import SATURATED
from charrnn.analysis.text_features import FEATURES
from charrnn.analysis.units import Floats, activity, correlations, most_telling
from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.network import CharRNN
from charrnn.utils import html
from charrnn.visualization import graphemes

FULL_UNITS = 64  # units whose activations the page has for all that it shows
BEGINNING_VALUES = 1_200_000  # bytes of the page for all units over the beginning of the text


def page(
    states_UN: Floats, features_FN: Floats, network: CharRNN, ids: Ids, vocabulary: AnyVocabulary, facts: dict[str, Any]
) -> str:
    """A page about the units over the text of `states_UN`, of which it shows `ids`, the beginning.

    `facts`: `text`, `measured` (symbols), `about` (lists of [name, value]), and if there are any `diagnostics`: their
    `figures` (as `about`) and `charts` with `title`, `note`, `x` and `y` (`label`, `log`), `series` (`name`, `points`).
    """
    correlations_UF, active = correlations(states_UN, features_FN), activity(states_UN, network)
    pieces, sizes_P = graphemes.split_graphemes(ids, vocabulary)
    # A piece of several symbols, such as a character of several bytes, has the activation after its last one.
    scaled_UP = states_UN[:, sizes_P.cumsum() - 1] / np.where(active.peaks_U > 0, active.peaks_U, 1)[:, None]
    quantized_UP = np.rint(127 * scaled_UP).astype(np.int8)  # 127 is the unit's peak
    full = most_telling(correlations_UF, FULL_UNITS)
    beginning = min(len(pieces), BEGINNING_VALUES // len(states_UN)) if len(full) < len(states_UN) else 0
    data = {
        "layers": network.settings["layers"],
        "hidden": network.settings["hidden"],
        "kind": network.settings.get("activation", network.settings["cell"]),
        "features": [[feature.name, feature.rule, feature.remembers] for feature in FEATURES],
        "correlations": correlations_UF.round(4).tolist(),
        "peaks": active.peaks_U.tolist(),
        "scales": active.scales_U.tolist(),
        "ranges": active.ranges_U.tolist(),
        "low": active.low,
        "histograms": (active.histograms_UK * 1e4).round().astype(int).tolist(),
        "flat": active.flat_U.round(4).tolist(),
        "saturated": SATURATED,
        "pieces": pieces,
        "full": full.tolist(),
        "activations": _base64(quantized_UP[full]),
        "beginning": beginning,
        "all_activations": _base64(quantized_UP[:, :beginning]),
    }
    return html.fill(__package__, "units.html", facts | data)


def _base64(values: NDArray[np.int8]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
