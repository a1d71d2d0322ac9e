"""Export of a trained network as plain values and NumPy arrays, for other programs.

V vocabulary, H hidden unit, G rows of all gates: H for the plain cell, 3 H for the GRU (r, z, n), 4 H for the LSTM
(i, f, g, o).
"""

import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.data.vocabulary import AnyVocabulary, Vocabulary
from charrnn.network import CharRNN

FORMAT = 1  # version of the exported file; raise it when older players would misread a new file
TORCH_NAMES = {
    "layer.weight_ih_l0": "input_to_hidden",
    "layer.weight_hh_l0": "hidden_to_hidden",
    "layer.bias_ih_l0": "input_bias",
    "layer.bias_hh_l0": "hidden_bias",
}

Weights = dict[str, NDArray[np.float32]]
# Metadata for people, and how a player reads a prompt: `newlines` (lf or keep), `normalize` (a Unicode form or empty).
Facts = dict[str, str | float]


def settings_of(network: CharRNN, vocabulary: AnyVocabulary) -> dict[str, Any]:
    """Return what a player needs besides the weights, as plain values.

    `characters`: the code points of the symbols, or the values of the bytes. `unknown`: the id for all other
    characters, or -1. `starts`: the ids that a text may start with.
    """
    characters = vocabulary.characters if isinstance(vocabulary, Vocabulary) else map(chr, range(256))
    unknown = vocabulary.unknown if isinstance(vocabulary, Vocabulary) else None
    return {
        "format": FORMAT,
        "cell": network.settings["cell"],
        "activation": network.settings.get("activation", "tanh"),
        "layers": network.settings["layers"],
        "residual": network.settings["residual"],
        "level": vocabulary.level,
        "characters": [ord(character) for character in characters],
        "unknown": -1 if unknown is None else unknown,
        "starts": vocabulary.starts.tolist(),
    }


def weights_of(network: CharRNN) -> Weights:
    """Return the weights by name; names end in the layer's number: `input_to_hidden_0` [G, V], `hidden_bias_0` [G], ...

    a = W_xh x_t + `input_bias` (gated cells only), b = W_hh h_{t-1} + `hidden_bias`; elman: h_t = phi(a + b).
    """
    weights: dict[str, torch.Tensor] = {
        f"{TORCH_NAMES.get(name, name)}_{layer}": values
        for layer, cell in enumerate(network.cells)
        for name, values in cell.named_parameters()
    }
    weights |= {"hidden_to_output": network.hidden_to_output, "output_bias": network.output_bias}
    return {name: values.detach().cpu().float().numpy() for name, values in weights.items()}


def reading_of(data: dict[str, Any]) -> Facts:
    """Return how the text was read that a network learned; players treat a prompt in the same way."""
    text = data.get("text", {})
    normalize = text.get("normalize", "none")
    return {"newlines": text.get("newlines", "keep"), "normalize": "" if normalize == "none" else normalize.upper()}


def to_numpy(network: CharRNN, vocabulary: AnyVocabulary, facts: Facts) -> bytes:
    """Return the content of an `.npz` file of arrays, numbers and strings, for scripts/play.py."""
    settings = settings_of(network, vocabulary)
    settings["characters"] = np.array(settings["characters"], dtype=np.uint32)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **settings, **weights_of(network), **facts)
    return file.getvalue()
