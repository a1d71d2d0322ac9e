"""Scores how well a network predicts a text: nats summed over all predicted characters and divided once.

B batch lane, T time step, V vocabulary.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from charrnn.data.batches import IGNORED, Batch, CharDataset, LaneBatches, read_sequences
from charrnn.data.vocabulary import AnyVocabulary, Ids, count_symbols
from charrnn.network.char_rnn import CHUNK, CharRNN, read_chunks
from charrnn.utils.errors import RequestError
from charrnn.utils.validation import require_integer, require_number

CHARACTERS_PER_LANE = 100_000  # a single lane is exact but slow, so longer texts use several
DYNAMIC_CHUNK_CHARACTERS = 32
WINDOWS_PER_CALL = 256
MAX_NUMBERS = 2**25  # of a tensor of logits or states: 128 MiB, for texts and vocabularies of any size


@dataclass(frozen=True)
class Score:
    """The total surprisal, in nats, of `characters` predicted characters (symbols before `per_character`)."""

    nats: float
    characters: int
    bytes: int | None = None

    @property
    def nats_per_char(self) -> float:
        return self.nats / self.characters

    @property
    def bits_per_char(self) -> float:
        return self.nats_per_char / math.log(2)

    @property
    def bits_per_byte(self) -> float | None:
        """Bits per byte of UTF-8, or None if the bytes were not counted."""
        return None if self.bytes is None else self.nats / self.bytes / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(nats per character), or infinity if that overflows."""
        return math.exp(self.nats_per_char) if self.nats_per_char < 700 else math.inf


def carried_lanes(characters: int) -> int:
    """Return the number of lanes that the carried protocol cuts a text into: max(1, characters // 100000)."""
    return max(1, characters // CHARACTERS_PER_LANE)


def score_carried(network: CharRNN, ids: Ids) -> Score:
    """Score with protocol `carried`: the state is carried through the whole text, in `carried_lanes` lanes."""
    if len(ids) < 2:
        raise RequestError(f"a text to evaluate needs at least 2 characters, got {len(ids)}")
    lanes = carried_lanes(len(ids))
    return _score(network, LaneBatches(ids, lanes, _fitting(CHUNK, network, lanes)))


def score_windows(network: CharRNN, ids: Ids, window: int) -> Score:
    """Score with protocol `windows`: non-overlapping windows, each from a zero state; the mean over all positions.

    Models with a fixed context report this. Characters after the last whole window are dropped.
    """
    windows = len(CharDataset(ids, require_integer("window", window)))
    if not windows:
        raise RequestError(f"a window of {window} needs a text of {window + 1} characters, got {len(ids)}")
    starts = np.arange(windows) * window
    together = _fitting(WINDOWS_PER_CALL, network, min(window, CHUNK))
    groups = (starts[i : i + together] for i in range(0, windows, together))
    return _score(network, (read_sequences(ids, starts_B, window, starts=True) for starts_B in groups))


def score_dynamic(network: CharRNN, ids: Ids, rate: float) -> Score:
    """Score with protocol `carried` in one lane, with a copy of the network that keeps learning from the scored text.

    After every DYNAMIC_CHUNK_CHARACTERS characters it takes a step of gradient descent with this learning rate. The
    gradient is backpropagated through the chunk and clipped to norm 1. Source: Krause 2018 (the SGD variant).
    """
    if len(ids) < 2:
        raise RequestError(f"a text to evaluate needs at least 2 characters, got {len(ids)}")
    require_number("rate", rate, 0.0)
    network = copy.deepcopy(network).eval()
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(parameters, lr=rate)
    nats, state_LBS = 0.0, network.initial_state(1)
    for inputs_TB, targets_TB, *_ in LaneBatches(ids, 1, DYNAMIC_CHUNK_CHARACTERS):
        logits_TBV, state_LBS = network.unroll(inputs_TB.to(network.output_bias.device), state_LBS.detach())
        summed = summed_nats(logits_TBV.flatten(0, 1), targets_TB.to(logits_TBV.device).flatten())
        nats += summed.item()
        optimizer.zero_grad()
        (summed / len(inputs_TB)).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return Score(nats, len(ids) - 1)


def per_character(score: Score, vocabulary: AnyVocabulary, ids: Ids) -> Score:
    """Return the score of `ids` per character and per byte of UTF-8, also when the symbols are bytes."""
    predicted = ids[1 : 1 + score.characters]
    characters, size = vocabulary.lengths(count_symbols(predicted, len(vocabulary)))
    return Score(score.nats, max(1, characters), size)


def summed_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the summed surprisal of all targets that are not IGNORED, in float32 or wider."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return nn.functional.cross_entropy(precise, targets, ignore_index=IGNORED, reduction="sum")


def _fitting(count: int, network: CharRNN, symbols: int) -> int:
    """Return how many times `symbols` symbols to read at once: `count`, or fewer if they take too much memory."""
    return max(1, min(count, MAX_NUMBERS // (symbols * max(network.hidden_to_output.shape))))


def _score(network: CharRNN, batches: Iterable[Batch]) -> Score:
    nats, characters = 0.0, 0
    for logits_TBV, targets_TB, _ in read_chunks(network, batches):
        nats += summed_nats(logits_TBV.flatten(0, 1), targets_TB.flatten()).item()
        characters += int((targets_TB != IGNORED).sum())
    return Score(nats, characters)
