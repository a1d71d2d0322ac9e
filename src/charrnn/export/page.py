"""Export of a trained network as an HTML page."""

import base64

from charrnn.data.vocabulary import AnyVocabulary
from charrnn.export.arrays import Facts, settings_of, weights_of
from charrnn.network import CharRNN
from charrnn.utils import html


def to_html(network: CharRNN, vocabulary: AnyVocabulary, facts: Facts) -> bytes:
    """Return a page that runs the network in the browser and shows its hidden state."""
    weights = {
        name: {"shape": values.shape, "base64": base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")}
        for name, values in weights_of(network).items()
    }
    facts = {**facts, "network": network.description}
    data = {"settings": settings_of(network, vocabulary), "weights": weights, "facts": facts}
    return html.fill(__package__, "player.html", data).encode("utf-8")
