"""How well a network predicts a text: nats summed over all predicted characters and divided once.

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

CHARACTERS_PER_LANE = 100_000  # one lane is exact; more lanes keep a long text from taking for ever
DYNAMIC_CHUNK = 32  # characters between two steps of dynamic evaluation
WINDOWS_PER_CALL = 256


@dataclass(frozen=True)
class Score:
    """The summed surprisal, in nats, of `characters` predicted characters (symbols, before `in_text` counts them)."""

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
        """None as long as the bytes are not known."""
        return None if self.bytes is None else self.nats / self.bytes / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(nats per character); infinity where a float can't hold it."""
        return math.exp(self.nats_per_char) if self.nats_per_char < 700 else math.inf


def carried_lanes(characters: int) -> int:
    """The number of contiguous lanes of the carried protocol: max(1, n // 100000)."""
    return max(1, characters // CHARACTERS_PER_LANE)


def score_carried(network: CharRNN, ids: Ids) -> Score:
    """Protocol `carried`: the state goes from the first character to the last, in `carried_lanes` lanes."""
    if len(ids) < 2:
        raise RequestError(f"a text to evaluate needs at least 2 characters, got {len(ids)}")
    return _score(network, LaneBatches(ids, carried_lanes(len(ids)), CHUNK))


def score_windows(network: CharRNN, ids: Ids, window: int) -> Score:
    """Protocol `windows`: windows that do not overlap, each from a zero state; the mean over all positions.

    What models with a fixed context report. Characters after the last whole window are dropped.
    """
    windows = len(CharDataset(ids, require_integer("window", window)))
    if not windows:
        raise RequestError(f"a window of {window} needs a text of {window + 1} characters, got {len(ids)}")
    starts = np.arange(windows) * window
    groups = (starts[i : i + WINDOWS_PER_CALL] for i in range(0, windows, WINDOWS_PER_CALL))
    return _score(network, (read_sequences(ids, starts_B, window, starts=True) for starts_B in groups))


def score_dynamic(network: CharRNN, ids: Ids, rate: float) -> Score:
    """Protocol `carried` in one lane, by a copy of the network that goes on learning from what it has been scored on.

    After every DYNAMIC_CHUNK characters a step of gradient descent with this rate, clipped to norm 1, back-propagated
    through the chunk. Source: Krause 2018 (the variant by plain steps).
    """
    if len(ids) < 2:
        raise RequestError(f"a text to evaluate needs at least 2 characters, got {len(ids)}")
    require_number("rate", rate, 0.0)
    network = copy.deepcopy(network).eval()
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(parameters, lr=rate)
    nats, state_LBS = 0.0, network.initial_state(1)
    for inputs_TB, targets_TB, *_ in LaneBatches(ids, 1, DYNAMIC_CHUNK):
        logits_TBV, state_LBS = network.unroll(inputs_TB.to(network.output_bias.device), state_LBS.detach())
        summed = summed_nats(logits_TBV.flatten(0, 1), targets_TB.to(logits_TBV.device).flatten())
        nats += summed.item()
        optimizer.zero_grad()
        (summed / len(inputs_TB)).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return Score(nats, len(ids) - 1)


def in_text(score: Score, vocabulary: AnyVocabulary, ids: Ids) -> Score:
    """The score of the text `ids` per character and per byte of UTF-8, whatever the symbols are."""
    predicted = ids[1 : 1 + score.characters]
    characters, size = vocabulary.lengths(count_symbols(predicted, len(vocabulary)))
    return Score(score.nats, max(1, characters), size)


def summed_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """The surprisal of all targets that are not IGNORED, [...], summed in float32 at least."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return nn.functional.cross_entropy(precise, targets, ignore_index=IGNORED, reduction="sum")


def _score(network: CharRNN, batches: Iterable[Batch]) -> Score:
    nats, characters = 0.0, 0
    for logits_TBV, targets_TB, _ in read_chunks(network, batches):
        nats += summed_nats(logits_TBV.flatten(0, 1), targets_TB.flatten()).item()
        characters += int((targets_TB != IGNORED).sum())
    return Score(nats, characters)
