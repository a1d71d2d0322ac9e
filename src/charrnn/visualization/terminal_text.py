"""Show a text colored by its surprisal in a terminal.

N predicted symbol, G grapheme (what a reader sees as one character).
"""

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.evaluation.surprisal import Surprisal
from charrnn.visualization.graphemes import split_graphemes

# Codes of 256-color terminals for 1 bit, 2 bits and so on; the last one is for all higher values. They become more
# striking on a dark and on a light background: first colored letters, then a background from dark to bright red.
STYLES = (
    "38;5;136", "38;5;172", "38;5;166", "1;38;5;160",
    "38;5;231;48;5;88", "38;5;231;48;5;124", "1;38;5;231;48;5;160", "1;38;5;231;48;5;196",
)  # fmt: skip
PLACES = 5  # in the list of the most surprising ones
CONTEXT = 24  # graphemes on each side of such a place: a line of 61 columns


def terminal_text(surprisal: Surprisal, ids: Ids, vocabulary: AnyVocabulary) -> str:
    """Return the text `ids` [N + 1] colored by its surprisal, between two color scales, and its most surprising places.

    Every line resets its colors, because `less -R` cannot show a color across lines. Line ends without a color have no
    sign.
    """
    graphemes, sizes_G = split_graphemes(ids, vocabulary)
    bits_G = np.add.reduceat(np.append(0.0, surprisal.bits_N), sizes_G.cumsum() - sizes_G)
    shades_G = np.minimum(bits_G, len(STYLES)).astype(int).tolist()
    shades = [_colored(f" {shade}{'+' * (shade == len(STYLES))} ", shade) for shade in range(len(STYLES) + 1)]
    scale = f"bits {''.join(shades)}"
    runs = groupby(zip(graphemes, shades_G, strict=True), key=lambda pair: pair[1])
    text = "".join(_colored("".join(grapheme for grapheme, _ in run), shade) for shade, run in runs)
    places = "\n".join(_place(graphemes, bits_G, shades_G, place) for place in _most_surprising(bits_G))
    return f"{scale}\n\n{text}\n\n{scale}\n\nmost surprising:\n{places}\n"


def _most_surprising(bits_G: NDArray[np.float64]) -> list[int]:
    """Return the positions with the most bits, none in the context of another: one rare word gives one place."""
    places: list[int] = []
    for place in np.argsort(-bits_G, kind="stable").tolist():
        if all(abs(place - other) > CONTEXT for other in places):
            places.append(place)
        if len(places) == PLACES:
            break
    return places


def _place(graphemes: list[str], bits_G: NDArray[np.float64], shades_G: list[int], place: int) -> str:
    """Return a line with the bits of a grapheme, and the grapheme between those around it."""
    before, after = graphemes[max(0, place - CONTEXT) : place], graphemes[place + 1 : place + 1 + CONTEXT]
    colored = _colored(graphemes[place].rstrip("\n"), shades_G[place])
    return f"{bits_G[place]:5.1f} bits  {_line(before):>{CONTEXT}}{colored}{_line(after)}"


def _line(graphemes: list[str]) -> str:
    return "".join(graphemes).replace("\n", "")


def _colored(text: str, shade: int) -> str:
    if not shade:
        return text.replace("↵\n", "\n")
    on, off = f"\x1b[{STYLES[shade - 1]}m", "\x1b[0m"
    return f"{on}{text}{off}".replace("\n", f"{off}\n{on}").replace(on + off, "")
