"""A text in the colors of its surprisal: as a page for the browser, and for a terminal.

N predicted symbol, K guess, U unit: what a reader sees as one character.
"""

from itertools import groupby
from typing import Any

import numpy as np

from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.evaluation.surprisal import Surprisal
from charrnn.utils import html
from charrnn.visualization.graphemes import split_graphemes, symbol_signs

SHOWN = 50_000  # symbols: a page of 2 MB, which a telephone still opens at once; nobody reads more

# xterm's numbers of text and background, from 1 bit up, one pair a bit; the last one for all above. Below 1 bit: none.
COLORS = ((16, 230), (16, 222), (16, 215), (16, 209), (16, 203), (231, 161), (231, 126), (231, 54))


def page(surprisal: Surprisal, ids: Ids, vocabulary: AnyVocabulary, facts: dict[str, Any]) -> str:
    """A page that shows the text `ids` [N + 1] in the colors of its surprisal, and the guesses at every place.

    `facts`: `text`, `figures`, `about` (lists of [name, value]), `note`, `window`. Probabilities go in thousandths.
    """
    shown, sizes_U = split_graphemes(ids, vocabulary)
    data = {
        "units": shown,
        "sizes": sizes_U.tolist(),
        "symbols": symbol_signs(vocabulary),
        "ids": ids.tolist(),
        "bits": surprisal.bits_N.round(3).tolist(),
        "guesses": surprisal.guesses_NK.ravel().tolist(),
        "probabilities": (1000 * surprisal.probabilities_NK).round().astype(int).ravel().tolist(),
    }
    return html.fill(__package__, "surprisal.html", facts | data)


def terminal_text(surprisal: Surprisal, ids: Ids, vocabulary: AnyVocabulary) -> str:
    """The text `ids` [N + 1] in the colors of its surprisal, for a terminal of 256 colors; the scale stands before it.

    No color goes over a line end, which `less -R` could not show. A line end without color has no sign.
    """
    shown, sizes_U = split_graphemes(ids, vocabulary)
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
