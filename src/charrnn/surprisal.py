"""Where a text surprises a network: the bits that every symbol costs, what the network expected there, and a picture.

B batch lane, T time step, V vocabulary, N predicted symbol, K guess, U unit: what a reader sees as one character.
"""

import math
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from charrnn.data.batches import LaneBatches
from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.network.char_rnn import CHUNK, CharRNN, read_chunks
from charrnn.readable import symbol_signs, units
from charrnn.utils import html
from charrnn.utils.errors import RequestError

GUESSES = 5
SHOWN = 50_000  # symbols: a page of 2 MB, which a telephone still opens at once; nobody reads more
WINDOWS_AT_ONCE = 16  # with CHUNK the bound of the memory for logits, whatever the text's length

# xterm's numbers of text and background, from 1 bit up, one pair a bit; the last one for all above. Below 1 bit: none.
COLORS = ((16, 230), (16, 222), (16, 215), (16, 209), (16, 203), (231, 161), (231, 126), (231, 54))


@dataclass(frozen=True)
class Surprisal:
    """What a network says of N symbols: the bits that each costs, and the K most likely symbols there, best first."""

    bits_N: NDArray[np.float64]
    guesses_NK: NDArray[np.int64]
    probabilities_NK: NDArray[np.float64]

    @property
    def nats(self) -> float:
        """The sum, as in `evaluation.Score`."""
        return float(self.bits_N.sum()) * math.log(2)


def surprisals(network: CharRNN, ids: Ids, window: int | None = None) -> Surprisal:
    """What every symbol of `ids` but the first costs, -log2 p(x_n | x_0 ... x_{n-1}), and what was expected instead.

    The state is carried from the first symbol to the last, in one lane; with `window` it starts from zero after every
    `window` symbols, as in `evaluation.score_windows` (a last window may be shorter here). Memory: N K, not N V.
    Raises `RequestError` for a text of one symbol, and for a network that predicts no numbers.
    """
    if len(ids) < 2:
        raise RequestError(f"a text to evaluate needs at least 2 characters, got {len(ids)}")
    targets = len(ids) - 1
    window = min(window or targets, targets)
    whole = targets // window
    limits = [*range(0, whole, WINDOWS_AT_ONCE), whole]
    parts = [_read(network, ids[first * window : last * window + 1], last - first) for first, last in pairwise(limits)]
    if whole * window < targets:
        parts.append(_read(network, ids[whole * window :], 1))
    logs_N1, guesses_NK, probabilities_NK = (np.concatenate(part) for part in zip(*parts, strict=True))
    bits_N = (logs_N1[:, 0] / -math.log(2)).astype(np.float64)
    found = Surprisal(bits_N, guesses_NK, probabilities_NK.astype(np.float64))
    if not np.isfinite(found.bits_N).all():
        raise RequestError("the network's predictions are no numbers (NaN or infinite); take another checkpoint")
    return found


def log_probabilities(network: CharRNN, vocabulary: AnyVocabulary, prompt: str, text: str) -> list[float]:
    """log p of every symbol of `text` after the prompt, given all before it, in nats; no temperature, nothing cut.

    p is the network's own softmax. Without a prompt the first symbol is not predicted and has none.
    """
    ids, given = vocabulary.encode(text), len(vocabulary.encode(prompt)) or 1
    if len(ids) <= given:
        return []
    logs: list[float] = (-math.log(2) * surprisals(network, ids).bits_N[given - 1 :]).tolist()
    return logs


def _read(network: CharRNN, ids: Ids, lanes: int) -> list[NDArray[Any]]:
    """log p [N, 1] of the symbols, guesses [N, K], probabilities [N, K]: the text in equal lanes from a zero state."""
    pieces = []
    for logits_TBV, targets_TB, _ in read_chunks(network, LaneBatches(ids, lanes, CHUNK)):
        logs_TBV = logits_TBV.to(torch.promote_types(logits_TBV.dtype, torch.float32)).log_softmax(-1)
        best = logs_TBV.topk(min(GUESSES, logs_TBV.shape[-1]))
        own_TB1 = logs_TBV.gather(-1, targets_TB[..., None])
        pieces.append([found.transpose(0, 1).cpu() for found in (own_TB1, best.indices, best.values.exp())])
    return [torch.cat(piece, dim=1).flatten(0, 1).numpy() for piece in zip(*pieces, strict=True)]


def page(surprisal: Surprisal, ids: Ids, vocabulary: AnyVocabulary, facts: dict[str, Any]) -> str:
    """A page that shows the text `ids` [N + 1] in the colors of its surprisal, and the guesses at every place.

    `facts`: `text`, `figures`, `about` (lists of [name, value]), `note`, `window`. Probabilities go in thousandths.
    """
    shown, sizes_U = units(ids, vocabulary)
    data = {
        "units": shown,
        "sizes": sizes_U.tolist(),
        "symbols": symbol_signs(vocabulary),
        "ids": ids.tolist(),
        "bits": surprisal.bits_N.round(3).tolist(),
        "guesses": surprisal.guesses_NK.ravel().tolist(),
        "probabilities": (1000 * surprisal.probabilities_NK).round().astype(int).ravel().tolist(),
    }
    return html.fill("charrnn.pages", "surprisal.html", facts | data)


def terminal_text(surprisal: Surprisal, ids: Ids, vocabulary: AnyVocabulary) -> str:
    """The text `ids` [N + 1] in the colors of its surprisal, for a terminal of 256 colors; the scale stands before it.

    No color goes over a line end, which `less -R` could not show. A line end without color has no sign.
    """
    shown, sizes_U = units(ids, vocabulary)
    bits_U = np.add.reduceat(np.append(0.0, surprisal.bits_N), sizes_U.cumsum() - sizes_U)
    shades_U = np.minimum(bits_U, len(COLORS)).astype(int).tolist()
    scale = [_colored(f" {shade}{'+' * (shade == len(COLORS))} ", shade) for shade in range(len(COLORS) + 1)]
    runs = groupby(zip(shown, shades_U, strict=True), key=lambda unit: unit[1])
    text = "".join(_colored("".join(unit for unit, _ in run), shade) for shade, run in runs)
    return f"bits {''.join(scale)}\n\n{text}"


def _colored(text: str, shade: int) -> str:
    if not shade:
        return text.replace("↵\n", "\n")
    front, back = COLORS[shade - 1]
    on, off = f"\x1b[38;5;{front};48;5;{back}m", "\x1b[0m"
    return f"{on}{text}{off}".replace("\n", f"{off}\n{on}").replace(on + off, "")
