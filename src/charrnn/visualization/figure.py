"""Create, style and save matplotlib figures. matplotlib is optional and slow to import, so it is imported on use."""

import importlib.util
import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.utils.errors import RequestError
from charrnn.utils.files import atomic_write
from charrnn.utils.paths import install_command

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LABEL_SIZE = 9  # points


def available() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def advice(consequence: str) -> str:
    """Return a message that matplotlib is not installed, with the consequence and the command that installs it."""
    return f"matplotlib is not installed: {consequence}. To get it: {install_command('plots')}"


def new_figure(width: float, height: float, **options: Any) -> "Figure":
    """Return an empty figure of the given size in inches. Raises `RequestError` if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # pyplot would keep every figure in memory and look for a display
    except ModuleNotFoundError:
        raise RequestError(advice("no plot can be drawn")) from None
    return Figure(figsize=(width, height), **options)


def new_panels(
    count: int, max_columns: int, panel_size: tuple[float, float], margin: float = 0.0
) -> tuple["Figure", list["Axes"]]:
    """Return a figure of `count` panels in rows of up to `max_columns`; `panel_size` (width, height) is in inches.

    `margin` inches are added to the figure's width.
    """
    columns = min(max_columns, count)
    rows = math.ceil(count / columns)
    width, height = panel_size
    figure = new_figure(width * columns + margin, height * rows, layout="constrained")
    return figure, [figure.add_subplot(rows, columns, index + 1) for index in range(count)]


def style_axes(axes: "Axes", *, grid: bool) -> None:
    """Hide the top and right spines and, with `grid`, draw faint grid lines."""
    if grid:
        axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def label_ends(axes: "Axes", ends: Sequence[tuple[float, float]], labels: Sequence[str], colors: Sequence[Any]) -> None:
    """Label curves at their last points, right of the axes and apart from each other; the limits of y must be set.

    A dotted leader line connects each label with its point.
    """
    line = 1.3 * LABEL_SIZE / 72 * axes.figure.dpi / axes.bbox.height  # as a share of the axes
    points = [min(1.0, float((axes.transScale + axes.transLimits).transform(end)[1])) for end in ends]
    places = spread(points, [line * (1 + label.count("\n")) for label in labels])
    for end, label, color, place in zip(ends, labels, colors, places, strict=True):
        leader = {
            "arrowstyle": "-", "linestyle": ":", "linewidth": 0.6, "color": "gray", "shrinkA": 2, "shrinkB": 2,
            "relpos": (0.0, 0.5),
        }  # fmt: skip
        axes.annotate(
            label, (end[0], min(end[1], axes.get_ylim()[1])), (1.05, place), "data", "axes fraction", leader,
            annotation_clip=False, fontsize=LABEL_SIZE, color=color, verticalalignment="center", parse_math=False,
        )  # fmt: skip


def spread(places: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Return the places above 0 nearest to the given ones at which labels of these heights do not overlap."""
    blocks: list[tuple[list[int], float]] = []  # labels on top of each other, lowest first, and their lower edge
    for i in sorted(range(len(places)), key=lambda i: places[i]):
        block, bottom = [i], max(0.0, places[i] - heights[i] / 2)
        while blocks and blocks[-1][1] + sum(heights[j] for j in blocks[-1][0]) > bottom:
            block = blocks.pop()[0] + block
            edges = accumulate((heights[j] for j in block), initial=0.0)
            moved = [places[j] - heights[j] / 2 - edge for j, edge in zip(block, edges, strict=False)]
            bottom = max(0.0, sum(moved) / len(moved))
        blocks.append((block, bottom))
    found = [0.0] * len(places)
    for block, bottom in blocks:
        for j, edge in zip(block, accumulate((heights[j] for j in block), initial=bottom), strict=False):
            found[j] = edge + heights[j] / 2
    return found


def save_figure(figure: "Figure", file: Path) -> None:
    """Write the figure atomically, in the format of the file's extension; `RequestError` for an unknown extension."""
    formats = figure.canvas.get_supported_filetypes()
    extension = file.suffix[1:].lower()
    if extension not in formats:
        raise RequestError(f"cannot write {file}: its extension must be one of {', '.join(sorted(formats))}")
    with atomic_write(file) as target:
        figure.savefig(target, format=extension, dpi=150, bbox_inches="tight")
