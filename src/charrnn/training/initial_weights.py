"""Start a run from the weights of another one (`init_from`), also on a text with other symbols.

H hidden unit, V vocabulary.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from charrnn.data.vocabulary import AnyVocabulary, Vocabulary, vocabulary_of
from charrnn.network import CharRNN
from charrnn.runs import checkpoint_file
from charrnn.runs.checkpoint_file import network_weights
from charrnn.runs.comparison import setting_text
from charrnn.runs.folder import checkpoint_at
from charrnn.utils.errors import RequestError
from charrnn.utils.files import user_path
from charrnn.utils.validation import require_choice

log = logging.getLogger(__name__)

NEW_SYMBOLS = ("add", "unknown")
# Settings of a network that do not change what its weights compute.
NOT_COMPARED = (
    "vocabulary_size", "dropout", "input_dropout", "label_smoothing", "kernel", "recurrent_init", "recurrent_gain",
    "input_std", "output_std",
)  # fmt: skip
# The axis of each parameter that runs over the symbols.
SYMBOL_AXES = {
    "cells.0.input_to_hidden": 1, "cells.0.layer.weight_ih_l0": 1, "hidden_to_output": 0, "output_bias": 0,
}  # fmt: skip

MakeVocabulary = Callable[[AnyVocabulary], AnyVocabulary]  # from the vocabulary of the text to that of the run


def read_initial(init_from: object) -> tuple[Path, dict[str, Any]]:
    """Return the checkpoint that `init_from` names: a file, or the best one of a run's or a sweep's folder."""
    path = checkpoint_at(user_path(init_from))
    return path, checkpoint_file.read(path)


def vocabulary_from(cfg: DictConfig, resumed: dict[str, Any] | None) -> MakeVocabulary | None:
    """Return how a run with `init_from` makes its vocabulary, which has all symbols of that checkpoint; else None.

    `init_new_symbols` says what happens to the others of the text: `add` them, or count them as `unknown`. A run that
    is `resumed` keeps its vocabulary.
    """
    choice = require_choice("init_new_symbols", cfg.init_new_symbols, NEW_SYMBOLS)
    if cfg.init_from is None:
        return None
    if resumed is not None:
        return lambda _: vocabulary_of(resumed["charrnn"]["vocabulary"])
    path, checkpoint = read_initial(cfg.init_from)
    known = vocabulary_of(checkpoint["charrnn"]["vocabulary"])

    def make(own: AnyVocabulary) -> AnyVocabulary:
        if own.level != known.level:
            raise RequestError(f"init_from: {path} has symbols of level {known.level}; use data.level={known.level}")
        if known.level == "byte":
            return own
        if choice == "unknown":
            return Vocabulary(known.characters, unknown=True)
        has_unknown = known.unknown is not None or own.unknown is not None
        return Vocabulary(known.characters + own.characters, unknown=has_unknown)

    return make


def load_weights(init_from: object, network: CharRNN, vocabulary: AnyVocabulary) -> None:
    """Load the weights of a checkpoint into `network`, and log what they are.

    Symbols that the checkpoint lacks keep their random input weights; their output biases are the lowest one, so that
    they are unlikely at first. Raises `RequestError` if the network is another one.
    """
    path, checkpoint = read_initial(init_from)
    about = checkpoint["charrnn"]
    was = {key: value for key, value in about["network"].items() if key not in NOT_COMPARED}
    different = {key: value for key, value in was.items() if network.settings.get(key) != value}
    if different:
        names = {key: "model" if key == "cell" else f"model.{key}" for key in different}
        advice = " ".join(f"{names[key]}={setting_text(value)}" for key, value in different.items())
        raise RequestError(f"init_from: {path} holds another network; use {advice}")
    known = vocabulary_of(about["vocabulary"])
    rows = vocabulary.encode(known.characters) if vocabulary.level == "char" else np.arange(len(vocabulary))
    weights, target = network_weights(checkpoint), network.state_dict()
    with torch.no_grad():
        for name, tensor in target.items():
            _copy(weights[name], tensor, torch.from_numpy(rows.astype(np.int64)), SYMBOL_AXES.get(name))
        new = np.setdiff1d(np.arange(len(vocabulary)), rows)
        target["output_bias"][new] = weights["output_bias"].min().to(target["output_bias"].dtype)
    added = f"; {len(new):,} of {len(vocabulary):,} symbols are new" if len(new) else ""
    log.info("weights   from %s, after step %s%s", path, f"{checkpoint['global_step']:,}", added)


def _copy(source: Tensor, target: Tensor, rows: Tensor, symbol_axis: int | None) -> None:
    if symbol_axis is None:
        target.copy_(source)
    else:
        target.index_copy_(symbol_axis, rows, source.to(target.dtype))
