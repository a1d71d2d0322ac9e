"""Show a text colored by its surprisal, as an HTML page or in a terminal.

N predicted symbol, K guess, G grapheme (what a reader sees as one character).
"""

from itertools import groupby
from typing import Any

import numpy as np

from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.evaluation.surprisal import Surprisal
from charrnn.utils import html
from charrnn.visualization.graphemes import split_graphemes, symbol_signs

MAX_SHOWN_SYMBOLS = 50_000  # symbols; they make a page of 2 MB, which a phone still opens at once

# xterm color codes (text, background) for 1 bit, 2 bits and so on; the last pair is for all higher values. Below 1 bit
# there is no color.
COLORS = ((16, 230), (16, 222), (16, 215), (16, 209), (16, 203), (231, 161), (231, 126), (231, 54))


def page(surprisal: Surprisal, ids: Ids, vocabulary: AnyVocabulary, facts: dict[str, Any]) -> str:
    """Return an HTML page of the text `ids` [N + 1] colored by its surprisal, with the guesses at every position.

    `facts` holds `text` (its name), `metrics` and `about` ([name, value] pairs), `note`, and `window`. The page stores
    probabilities in thousandths.
    """
    graphemes, sizes_G = split_graphemes(ids, vocabulary)
    data = {
        "graphemes": graphemes,
        "sizes": sizes_G.tolist(),
        "symbols": symbol_signs(vocabulary),
        "ids": ids.tolist(),
        "bits": surprisal.bits_N.round(3).tolist(),
        "guesses": surprisal.guesses_NK.ravel().tolist(),
        "probabilities": (1000 * surprisal.probabilities_NK).round().astype(int).ravel().tolist(),
    }
    return html.fill(__package__, "surprisal.html", facts | data)


def terminal_text(surprisal: Surprisal, ids: Ids, vocabulary: AnyVocabulary) -> str:
    """Return the text `ids` [N + 1] colored by its surprisal for a 256-color terminal, below a color scale.

    Every line resets its colors, because `less -R` cannot show a color across lines. Line ends without a color have no
    sign.
    """
    graphemes, sizes_G = split_graphemes(ids, vocabulary)
    bits_G = np.add.reduceat(np.append(0.0, surprisal.bits_N), sizes_G.cumsum() - sizes_G)
    shades_G = np.minimum(bits_G, len(COLORS)).astype(int).tolist()
    scale = [_colored(f" {shade}{'+' * (shade == len(COLORS))} ", shade) for shade in range(len(COLORS) + 1)]
    runs = groupby(zip(graphemes, shades_G, strict=True), key=lambda pair: pair[1])
    text = "".join(_colored("".join(grapheme for grapheme, _ in run), shade) for shade, run in runs)
    return f"bits {''.join(scale)}\n\n{text}"


def _colored(text: str, shade: int) -> str:
    if not shade:
        return text.replace("↵\n", "\n")
    foreground, background = COLORS[shade - 1]
    on, off = f"\x1b[38;5;{foreground};48;5;{background}m", "\x1b[0m"
    return f"{on}{text}{off}".replace("\n", f"{off}\n{on}").replace(on + off, "")
