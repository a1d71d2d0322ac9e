"""Write an HTML page about the hidden units of a network: a text in their colors, what each follows, a heat map.

U unit, numbered through all layers from the lowest; N symbol of the text; F feature; G grapheme (what a reader sees as
one character); K bin.
"""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.analysis.states import SATURATION_THRESHOLD
from charrnn.analysis.text_features import FEATURES
from charrnn.analysis.units import Floats, activity, correlations, select_units
from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.network import CharRNN
from charrnn.utils import html
from charrnn.visualization.graphemes import split_graphemes

FULL_UNITS = 64  # the page has their activations for the whole text; those of other units only for its beginning
BEGINNING_VALUES = 1_200_000  # activations of all units for the beginning of the text, a byte each


def page(
    states_UN: Floats, features_FN: Floats, network: CharRNN, ids: Ids, vocabulary: AnyVocabulary, facts: dict[str, Any]
) -> str:
    """Return the HTML page; correlations are over the whole text of `states_UN`, and `ids` is the part that is shown.

    `facts` holds `text` (its name), `measured` (number of symbols), `about` ([name, value] pairs), and optionally
    `diagnostics`, with `metrics` ([name, value] pairs) and `charts`. A chart has `title`, `note`, `x` and `y` (each
    `label`, `log`), and `series` (each `name`, `points`).
    """
    correlations_UF, active = correlations(states_UN, features_FN), activity(states_UN, network)
    graphemes, sizes_G = split_graphemes(ids, vocabulary)
    # A grapheme of several symbols, such as a character of several bytes, has the activation after its last one.
    scaled_UG = states_UN[:, sizes_G.cumsum() - 1] / np.where(active.peaks_U > 0, active.peaks_U, 1)[:, None]
    quantized_UG = np.rint(127 * scaled_UG).astype(np.int8)  # 127 is the unit's peak
    full = select_units(correlations_UF, FULL_UNITS)
    beginning = min(len(graphemes), BEGINNING_VALUES // len(states_UN)) if len(full) < len(states_UN) else 0
    data = {
        "layers": network.settings["layers"],
        "hidden": network.settings["hidden"],
        "kind": network.settings.get("activation", network.settings["cell"]),
        "features": [[feature.name, feature.rule, feature.needs_memory] for feature in FEATURES],
        "correlations": correlations_UF.round(4).tolist(),
        "peaks": active.peaks_U.tolist(),
        "scales": active.scales_U.tolist(),
        "ranges": active.ranges_U.tolist(),
        "low": active.low,
        "histograms": (active.histograms_UK * 1e4).round().astype(int).tolist(),
        "flat": active.flat_U.round(4).tolist(),
        "saturated": SATURATION_THRESHOLD,
        "graphemes": graphemes,
        "full": full.tolist(),
        "activations": _base64(quantized_UG[full]),
        "beginning": beginning,
        "all_activations": _base64(quantized_UG[:, :beginning]),
    }
    return html.fill(__package__, "units.html", facts | data)


def _base64(values: NDArray[np.int8]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
