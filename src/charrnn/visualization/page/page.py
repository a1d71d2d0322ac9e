"""Write the HTML page that shows what a network computes: one step, the surprisal of a text, and all hidden units.

The page has the weights and computes everything else itself. U unit, numbered through all layers from the lowest;
N symbol of the text; F feature.
"""

import base64
import copy
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.analysis.states import SATURATION_THRESHOLD
from charrnn.analysis.text_features import FEATURES, features_of
from charrnn.analysis.units import Floats, activity, correlations, max_symbols, read_states
from charrnn.data.batches import LaneBatches
from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.export.arrays import reading_of, settings_of, weights_of
from charrnn.network import CharRNN
from charrnn.network.char_rnn import CHUNK, read_chunks
from charrnn.runs.load import LoadedNetwork
from charrnn.utils import html
from charrnn.visualization.graphemes import symbol_signs

SCRIPTS = ("network", "backward", "text", "drawing", "equation", "cards", "step", "numbers", "score", "units", "charts")
Tab = Literal["step", "score", "units"]
TITLES: dict[Tab, str] = {
    "step": "One step of a recurrent network",
    "score": "Surprisal: {text}",
    "units": "Hidden units: {text}",
}
OPENING_SYMBOLS = 2_000  # of the run's own text, for the page to open on
MEASURED_SYMBOLS = 20_000  # for the names and color scales of units
MAX_SHOWN_SYMBOLS = 50_000  # the page reads them in seconds
MAX_NUMBERS = 1 << 25  # of the states that the page holds in memory: 134 MB
SMALL = 16  # hidden units up to which the page shows the weights themselves
SHOWN_DIGIT = 0.001  # the page shows probabilities as 41.2 %
LARGEST = 32_767  # of 16-bit integers


def page(
    loaded: LoadedNetwork,
    ids: Ids,
    units: dict[str, Any],
    facts: dict[str, Any],
    *,
    tab: Tab = "step",
    window: int | None = None,
) -> str:
    """Return the HTML page of a network; it opens at `tab`, on the text `ids`.

    `units` are the facts of `unit_facts`. With `window`, the state restarts from zero after every `window` symbols.
    `facts` holds `text` (its name), and optionally `checkpoint`, `val_bits_per_char`, `metrics` and `about` ([name,
    value] pairs), `note`, and `diagnostics` (those of `analysis.summary.diagnose`).
    """
    network, vocabulary, data_settings, _ = loaded
    short = _may_be_short(network, ids)
    data = {
        "tab": tab,
        "settings": settings_of(network, vocabulary),
        "weights": {name: _packed(values, short) for name, values in weights_of(network).items()},
        "ids": ids.tolist(),
        "window": window,
        "most": _most_symbols(network),
        "signs": symbol_signs(vocabulary),
        "units": units,
        "facts": {
            **facts,
            **reading_of(data_settings),
            "network": network.description,
            "title": TITLES[tab].format(text=facts["text"]),
        },
    }
    scripts = [f"{name}.js" for name in (*SCRIPTS, "walk", "main")]
    return html.fill(__package__, "template.html", data, style=["style.css"], script=scripts)


def max_shown_symbols(network: CharRNN) -> int:
    """Return the number of symbols, after a first one, that the page shows at most."""
    return max(1, min(MAX_SHOWN_SYMBOLS, _most_symbols(network) - 1))


def measure_units(network: CharRNN, vocabulary: AnyVocabulary, ids: Ids, name: str) -> dict[str, Any]:
    """Return the `unit_facts` over the beginning of a text, enough to name the units."""
    read = ids[: min(MEASURED_SYMBOLS, max_symbols(network))]
    return unit_facts(read_states(network, read), features_of(read, vocabulary), network, name)


def unit_facts(states_UN: Floats, features_FN: Floats, network: CharRNN, name: str) -> dict[str, Any]:
    """Return what the page tells about each unit: the feature it follows, and the |h| that is drawn in full color."""
    return {
        "features": [[feature.name, feature.rule, feature.needs_memory] for feature in FEATURES],
        "correlations": correlations(states_UN, features_FN).round(3).tolist(),
        "scales": [float(f"{scale:.4g}") for scale in activity(states_UN, network).scales_U],
        "saturated": SATURATION_THRESHOLD,
        "measured": f"{states_UN.shape[1]:,} symbols of {name}",
    }


def _most_symbols(network: CharRNN) -> int:
    numbers: int = network.settings["layers"] * network.settings["hidden"]
    return max(2, MAX_NUMBERS // numbers)


def _packed(values: NDArray[np.float32], short: bool) -> dict[str, Any]:
    """Return an array for JSON: float32, or 16-bit integers with a scale for each row."""
    packed: dict[str, Any] = {"shape": values.shape}
    if short and values.ndim == 2:
        integers, scales = _rounded(values)
        return {**packed, "integers": _base64(integers.astype("<i2")), "scales": _base64(scales.astype("<f4"))}
    return {**packed, "floats": _base64(values.astype("<f4"))}


def _rounded(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return integers up to 32,767 and the scale [rows, 1] that turns them into values.

    For W_hh of `experiment=shakespeare_minute` their error is a fifth of that of 16-bit floats, which are coarse near
    the largest weights, those with which units remember.
    """
    scales = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / np.float32(LARGEST)
    return np.rint(values / scales), scales


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def _may_be_short(network: CharRNN, ids: Ids) -> bool:
    """Return whether 16-bit weights change no probability along the text by a shown digit."""
    if network.settings["hidden"] <= SMALL or len(ids) < 2:
        return False
    rounded = copy.deepcopy(network)
    with torch.no_grad():
        for values in rounded.parameters():
            if values.ndim == 2:
                integers, scales = _rounded(values.cpu().float().numpy())
                values.copy_(torch.from_numpy(integers * scales))
    reads = (read_chunks(one, LaneBatches(ids[:OPENING_SYMBOLS], 1, CHUNK)) for one in (network, rounded))
    pairs = ((exact.softmax(-1), other.softmax(-1)) for (exact, *_), (other, *_) in zip(*reads, strict=True))
    return max(float((exact - other).abs().max()) for exact, other in pairs) < SHOWN_DIGIT
