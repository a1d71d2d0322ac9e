"""Made by hand for several tests: a network whose units are known, and a file that must not be run."""

import os
from collections.abc import Callable
from typing import Any

import torch

from charrnn.analysis.text_features import FEATURES
from charrnn.data.vocabulary import Vocabulary
from charrnn.network import CharRNN

Detector = tuple[CharRNN, Vocabulary]
MakeNetwork = Callable[..., CharRNN]

TEXT = 'He said "I will", and\nthen: "go (now)!" They went.\n"So,"  it is (said) "was all."\n\n' * 12
NAMES = [feature.name for feature in FEATURES]
QUOTES = NAMES.index('inside " "')


def quote_detector(make_network: MakeNetwork) -> Detector:
    """Two ReLU layers of 3 units; unit 0 of layer 1 is 1 from a double quote to the next, 0 from there on.

    To turn over is an exclusive or, which takes two units of a layer: with x = 1 at a quote and q = a + b
    a' = relu(q - x) stays inside, b' = relu(x - q) opens; layer 1 adds them.
    """
    vocabulary = Vocabulary(TEXT)
    network = make_network(len(vocabulary), hidden=3, layers=2, activation="relu")
    below, above = network.cells
    with torch.no_grad():
        for cell in network.cells:
            cell.hidden_to_hidden.zero_()
        below.input_to_hidden[:2] = 0
        below.input_to_hidden[:2, vocabulary.characters.index('"')] = torch.tensor([-1.0, 1.0])
        below.hidden_to_hidden[:2, :2] = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
        above.input_to_hidden[0] = torch.tensor([1.0, 1.0, 0.0])
    return network, vocabulary


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)
