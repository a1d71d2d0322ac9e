"""Pictures of hidden units as files, drawn by matplotlib: a text in a unit's colors, all units over it, histograms.

U unit, N symbol of the text, P piece of it that a reader sees as one character, F feature.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charrnn.analysis.text_features import FEATURES
from charrnn.analysis.units import activity, correlations
from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.network import CharRNN
from charrnn.visualization import graphemes
from charrnn.visualization.figure import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Floats = NDArray[np.floating]

BEST = 4  # units in a picture
WEAK = 0.1  # a correlation below it is none worth a picture
WIDTH, LINES = 76, 9  # characters and lines of the text below each unit
CELL_WIDTH, CELL_HEIGHT, TITLE_HEIGHT = 0.1, 0.2, 0.35  # inches
MAPPED = 100  # characters of the heat map
MOST_GROUP_NAMES = 40  # rows of names that fit beside it
INK, QUIET = "#22201d", "#6a655e"
NEGATIVE, ZERO, POSITIVE = "#5b9cf0", "#ffffff", "#f3705c"  # as on the page


def draw_unit_plots(
    folder: Path, states_UN: Floats, features_FN: Floats, network: CharRNN, ids: Ids, vocabulary: AnyVocabulary
) -> list[Path]:
    """Draw `text.png`, `heat_map.png` and `histograms.png` of the units over `ids`, the beginning of the text.

    The first and the last show the units that best follow different features which need a memory. Raises
    `RequestError` without matplotlib.
    """
    correlations_UF, active = correlations(states_UN, features_FN), activity(states_UN, network)
    pieces, sizes_P = graphemes.split_graphemes(ids, vocabulary)
    levels_UP = states_UN[:, sizes_P.cumsum() - 1] / active.scales_U[:, None]  # 1 is the full color
    best = best_of_different_features(correlations_UF, BEST)
    titles = [_title(unit, feature, correlations_UF, network) for unit, feature in best]
    units = [unit for unit, _ in best]
    limits = [(active.low * active.ranges_U[unit], active.ranges_U[unit]) for unit in units]
    figures = {
        "text.png": _text(pieces, levels_UP[units], titles),
        "heat_map.png": _heat_map(pieces[:MAPPED], levels_UP[:, :MAPPED], correlations_UF, active.low),
        "histograms.png": _histograms(active.histograms_UK[units], limits, titles),
    }
    for name, figure in figures.items():
        save_figure(figure, folder / name)
    return [folder / name for name in figures]


def best_of_different_features(correlations_UF: Floats, count: int) -> list[tuple[int, int]]:
    """Up to `count` pairs (unit, feature), the best first: of every feature that needs a memory the best unit.

    At least one; of the others those that are followed at all.
    """
    remembered = [f for f, feature in enumerate(FEATURES) if feature.remembers]
    pairs = [(int(np.abs(correlations_UF[:, f]).argmax()), f) for f in remembered]
    pairs.sort(key=lambda pair: -abs(correlations_UF[pair]))
    return pairs[:1] + [pair for pair in pairs[1:count] if abs(correlations_UF[pair]) >= WEAK]


def _title(unit: int, feature: int, correlations_UF: Floats, network: CharRNN) -> str:
    layer, place = divmod(unit, network.settings["hidden"])
    name = f"unit {place}" + (f" of layer {layer}" if network.settings["layers"] > 1 else "")
    return f"{name}: {FEATURES[feature].name}, r = {correlations_UF[unit, feature]:+.2f}"


def _text(pieces: list[str], levels_XP: Floats, titles: list[str]) -> "Figure":
    """The beginning of the text once for every unit, a colored cell behind each character."""
    rows, columns = _layout(pieces)
    shown = len(rows)
    lines, width = int(rows.max()) + 1, int(columns.max()) + 1
    height = len(titles) * (CELL_HEIGHT * lines + TITLE_HEIGHT)
    figure = new_figure(CELL_WIDTH * width, height, layout="constrained")
    for place, (title, levels_P) in enumerate(zip(titles, levels_XP, strict=True)):
        axes = figure.add_subplot(len(titles), 1, place + 1)
        cells = np.zeros((lines, width))
        cells[rows, columns] = levels_P[:shown]
        _image(axes, cells, aspect=CELL_HEIGHT / CELL_WIDTH, interpolation="nearest")
        for piece, row, column in zip(pieces, rows, columns, strict=False):
            axes.text(
                column, row, piece.strip(), family="monospace", fontsize=9, color=QUIET if piece == "↵\n" else INK,
                ha="center", va="center", parse_math=False,
            )  # fmt: skip
        axes.set_title(title, loc="left", fontsize=10, parse_math=False)
        axes.set_axis_off()
    return figure


def _layout(pieces: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of every piece that finds room in LINES lines of WIDTH columns."""
    rows, columns, row, column = [], [], 0, 0
    for piece in pieces:
        if column == WIDTH:
            row, column = row + 1, 0
        if row == LINES:
            break
        rows.append(row)
        columns.append(column)
        row, column = (row + 1, 0) if piece.endswith("\n") else (row, column + 1)
    return np.array(rows), np.array(columns)


def _heat_map(pieces: list[str], levels_UP: Floats, correlations_UF: Floats, low: int) -> "Figure":
    """A row for each unit, in groups by the feature that it follows best, in each by falling correlation."""
    best_U = np.abs(correlations_UF).argmax(axis=1)
    order = np.lexsort((-correlations_UF[np.arange(len(best_U)), best_U], best_U))
    figure = new_figure(12, 8, layout="constrained")
    axes = figure.add_subplot()
    image = _image(axes, levels_UP[order], aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(pieces)), [piece.strip()[:1] for piece in pieces], family="monospace", parse_math=False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=8)
    features, starts, counts = np.unique(best_U[order], return_index=True, return_counts=True)
    named = counts >= len(order) / MOST_GROUP_NAMES
    names = [FEATURES[feature].name for feature in features[named]]
    axes.set_yticks(starts[named] + (counts[named] - 1) / 2, names, parse_math=False)
    axes.hlines(starts[1:] - 0.5, -0.5, len(pieces) - 0.5, color=QUIET, linewidth=0.5)
    axes.set_title(f"All {len(order):,} units over the text, by the feature that each follows best", loc="left")
    bar = figure.colorbar(image, fraction=0.02, pad=0.01, label="activation, share of the unit's scale")
    bar.ax.set_ylim(low, 1)
    return figure


def _histograms(shares_XK: Floats, limits: list[tuple[float, float]], titles: list[str]) -> "Figure":
    abreast = min(2, len(titles))
    rows = math.ceil(len(titles) / abreast)
    figure = new_figure(5 * abreast, 2.6 * rows, layout="constrained")
    for place, (title, shares_K, (low, high)) in enumerate(zip(titles, shares_XK, limits, strict=True)):
        axes = figure.add_subplot(rows, abreast, place + 1, xlabel="activation", ylabel="share of the text")
        edges = np.linspace(low, high, len(shares_K) + 1)
        colors = [NEGATIVE if middle < 0 else POSITIVE for middle in (edges[:-1] + edges[1:]) / 2]
        axes.bar(edges[:-1], shares_K, width=np.diff(edges), align="edge", color=colors, edgecolor="white")
        axes.set_title(title, loc="left", fontsize=10, parse_math=False)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _image(axes: "Axes", levels: Floats, **options: str | float) -> "AxesImage":
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("activation", [NEGATIVE, ZERO, POSITIVE])
    return axes.imshow(levels, cmap=colors, vmin=-1, vmax=1, **options)  # type: ignore[arg-type]
