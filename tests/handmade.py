"""Shared by several tests: a hand-made network with known units, and a pickle that must not be executed."""

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
    """Build two ReLU layers of 3 units in which unit 0 of layer 1 is 1 between double quotes, and 0 outside.

    Toggling at a quote is an exclusive or, which takes two units: with x = 1 at a quote and q = a + b,
    a' = relu(q - x) keeps the quotation open, and b' = relu(x - q) opens it. Layer 1 adds both.
    """
    vocabulary = Vocabulary(TEXT)
    network = make_network(len(vocabulary), hidden=3, layers=2, activation="relu")
    lower, upper = network.cells
    with torch.no_grad():
        for cell in network.cells:
            cell.hidden_to_hidden.zero_()
        lower.input_to_hidden[:2] = 0
        lower.input_to_hidden[:2, vocabulary.characters.index('"')] = torch.tensor([-1.0, 1.0])
        lower.hidden_to_hidden[:2, :2] = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
        upper.input_to_hidden[0] = torch.tensor([1.0, 1.0, 0.0])
    return network, vocabulary


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)
