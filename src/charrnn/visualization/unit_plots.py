"""Plot hidden units into PNG files: a text colored by a unit, a heat map of all units over it, and histograms.

U unit, X selected unit, N symbol of the text, G grapheme (what a reader sees as one character), F feature, K bin.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charrnn.analysis.text_features import FEATURES
from charrnn.analysis.units import activity, correlations
from charrnn.data.vocabulary import AnyVocabulary, Ids
from charrnn.network import CharRNN
from charrnn.visualization.figure import new_figure, new_panels, save_figure, style_axes
from charrnn.visualization.graphemes import split_graphemes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

Floats = NDArray[np.floating]

BEST_UNITS = 4  # shown in text.png and histograms.png
MIN_CORRELATION = 0.1  # a unit with less does not follow the feature
LINE_LENGTH, LINES = 76, 9  # of the text below each unit's title, in graphemes
CELL_WIDTH, CELL_HEIGHT, TITLE_HEIGHT, SCALE_HEIGHT = 0.1, 0.2, 0.35, 0.6  # inches
SCALE_LABEL = "activation, share of the unit's scale"
HEAT_MAP_COLUMNS = 100  # graphemes
MAX_GROUP_LABELS = 40  # rows of labels that fit beside the heat map
TEXT_COLOR, MUTED_COLOR = "#22201d", "#6a655e"
NEGATIVE, ZERO, POSITIVE = "#5b9cf0", "#ffffff", "#f3705c"


def draw_unit_plots(
    folder: Path, states_UN: Floats, features_FN: Floats, network: CharRNN, ids: Ids, vocabulary: AnyVocabulary
) -> list[Path]:
    """Write `text.png`, `heat_map.png` and `histograms.png` of the units over `ids`, the beginning of the text.

    `text.png` and `histograms.png` show the units that best follow different features that need memory. Raises
    `RequestError` if matplotlib is not installed.
    """
    correlations_UF, active = correlations(states_UN, features_FN), activity(states_UN, network)
    graphemes, sizes_G = split_graphemes(ids, vocabulary)
    levels_UG = states_UN[:, sizes_G.cumsum() - 1] / active.scales_U[:, None]  # 1 is the full color
    best = best_unit_per_feature(correlations_UF, BEST_UNITS)
    titles = [_title(unit, feature, correlations_UF, network) for unit, feature in best]
    units = [unit for unit, _ in best]
    limits = [(active.low * active.ranges_U[unit], active.ranges_U[unit]) for unit in units]
    columns = slice(HEAT_MAP_COLUMNS)
    figures = {
        "text.png": _colored_text(graphemes, levels_UG[units], titles, active.low),
        "heat_map.png": _heat_map(graphemes[columns], levels_UG[:, columns], correlations_UF, active.low),
        "histograms.png": _histograms(active.histograms_UK[units], limits, titles),
    }
    for name, figure in figures.items():
        save_figure(figure, folder / name)
    return [folder / name for name in figures]


def best_unit_per_feature(correlations_UF: Floats, count: int) -> list[tuple[int, int]]:
    """Return up to `count` pairs (unit, feature), best first: the best unit for each feature that needs memory.

    There is always at least one pair; the others have a correlation of at least MIN_CORRELATION.
    """
    features = [f for f, feature in enumerate(FEATURES) if feature.needs_memory]
    pairs = [(int(np.abs(correlations_UF[:, f]).argmax()), f) for f in features]
    pairs.sort(key=lambda pair: -abs(correlations_UF[pair]))
    return pairs[:1] + [pair for pair in pairs[1:count] if abs(correlations_UF[pair]) >= MIN_CORRELATION]


def _title(unit: int, feature: int, correlations_UF: Floats, network: CharRNN) -> str:
    layer, index = divmod(unit, network.settings["hidden"])
    name = f"unit {index}" + (f" of layer {layer}" if network.settings["layers"] > 1 else "")
    return f"{name}: {FEATURES[feature].name}, r = {correlations_UF[unit, feature]:+.2f}"


def _colored_text(graphemes: list[str], levels_XG: Floats, titles: list[str], low: int) -> "Figure":
    """Draw the beginning of the text once per unit, with a colored cell behind each grapheme, and the color scale."""
    rows, columns = _layout(graphemes)
    shown = len(rows)
    lines, width = int(rows.max()) + 1, int(columns.max()) + 1
    height = len(titles) * (CELL_HEIGHT * lines + TITLE_HEIGHT) + SCALE_HEIGHT
    figure = new_figure(CELL_WIDTH * width, height, layout="constrained")
    for index, (title, levels_G) in enumerate(zip(titles, levels_XG, strict=True)):
        axes = figure.add_subplot(len(titles), 1, index + 1)
        cells = np.zeros((lines, width))
        cells[rows, columns] = levels_G[:shown]
        image = _image(axes, cells, aspect=CELL_HEIGHT / CELL_WIDTH, interpolation="nearest")
        for grapheme, row, column in zip(graphemes, rows, columns, strict=False):
            color = MUTED_COLOR if grapheme == "↵\n" else TEXT_COLOR
            axes.text(
                column, row, grapheme.strip(), family="monospace", fontsize=9, color=color,
                ha="center", va="center", parse_math=False,
            )  # fmt: skip
        axes.set_title(title, loc="left", fontsize=10, parse_math=False)
        axes.set_axis_off()
    scale = figure.colorbar(image, ax=figure.axes, location="bottom", shrink=0.5, aspect=40, pad=0.01)
    scale.set_label(SCALE_LABEL, fontsize=9)
    scale.ax.set_xlim(low, 1)
    scale.ax.tick_params(labelsize=8)
    return figure


def _layout(graphemes: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row and column of every grapheme that fits into LINES lines of LINE_LENGTH graphemes."""
    rows, columns, row, column = [], [], 0, 0
    for grapheme in graphemes:
        if column == LINE_LENGTH:
            row, column = row + 1, 0
        if row == LINES:
            break
        rows.append(row)
        columns.append(column)
        row, column = (row + 1, 0) if grapheme.endswith("\n") else (row, column + 1)
    return np.array(rows), np.array(columns)


def _heat_map(graphemes: list[str], levels_UG: Floats, correlations_UF: Floats, low: int) -> "Figure":
    """Draw one row per unit, grouped by the feature each follows best, by descending correlation within a group."""
    best_U, strength_U = np.abs(correlations_UF).argmax(axis=1), np.abs(correlations_UF).max(axis=1)
    signed_U = correlations_UF[np.arange(len(best_U)), best_U]
    best_U[strength_U < MIN_CORRELATION] = len(FEATURES)  # also units that never fire, whose correlations are 0
    order = np.lexsort((-signed_U, best_U))
    figure = new_figure(12, 8, layout="constrained")
    axes = figure.add_subplot()
    image = _image(axes, levels_UG[order], aspect="auto", interpolation="nearest")
    signs = [grapheme.strip()[:1] for grapheme in graphemes]
    axes.set_xticks(range(len(signs)), signs, family="monospace", parse_math=False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=8)
    features, starts, counts = np.unique(best_U[order], return_index=True, return_counts=True)
    labeled = counts >= len(order) / MAX_GROUP_LABELS
    names = [*(feature.name for feature in FEATURES), "none of these"]
    labels = [names[feature] for feature in features[labeled]]
    axes.set_yticks(starts[labeled] + (counts[labeled] - 1) / 2, labels, parse_math=False)
    axes.hlines(starts[1:] - 0.5, -0.5, len(signs) - 0.5, color=MUTED_COLOR, linewidth=0.5)
    axes.set_title(f"All {len(order):,} units over the text, grouped by the feature each follows best", loc="left")
    colorbar = figure.colorbar(image, fraction=0.02, pad=0.01, label=SCALE_LABEL)
    colorbar.ax.set_ylim(low, 1)
    return figure


def _histograms(shares_XK: Floats, limits: list[tuple[float, float]], titles: list[str]) -> "Figure":
    figure, panels = new_panels(len(titles), 2, (5, 2.6))
    for axes, title, shares_K, (low, high) in zip(panels, titles, shares_XK, limits, strict=True):
        axes.set(xlabel="activation", ylabel="share of the text")
        edges = np.linspace(low, high, len(shares_K) + 1)
        colors = [NEGATIVE if middle < 0 else POSITIVE for middle in (edges[:-1] + edges[1:]) / 2]
        axes.bar(edges[:-1], shares_K, width=np.diff(edges), align="edge", color=colors, edgecolor="white")
        axes.set_title(title, loc="left", fontsize=10, parse_math=False)
        style_axes(axes, grid=False)
    return figure


def _image(axes: "Axes", levels: Floats, **options: str | float) -> "AxesImage":
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("activation", [NEGATIVE, ZERO, POSITIVE])
    return axes.imshow(levels, cmap=colors, vmin=-1, vmax=1, **options)  # type: ignore[arg-type]
