"""Create, style and save matplotlib figures. matplotlib is optional and slow to import, so it is imported on use."""

import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.utils.errors import RequestError
from charrnn.utils.files import atomic_write
from charrnn.utils.paths import install_command

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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


def save_figure(figure: "Figure", file: Path) -> None:
    """Write the figure atomically, in the format of the file's extension; `RequestError` for an unknown extension."""
    formats = figure.canvas.get_supported_filetypes()
    extension = file.suffix[1:].lower()
    if extension not in formats:
        raise RequestError(f"cannot write {file}: its extension must be one of {', '.join(sorted(formats))}")
    with atomic_write(file) as target:
        figure.savefig(target, format=extension, dpi=150, bbox_inches="tight")
