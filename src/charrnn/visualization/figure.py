"""Figures of matplotlib: an empty one, a file of one; matplotlib may be missing, and takes half a second to load."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charrnn.utils.errors import RequestError
from charrnn.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def available() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def advice(consequence: str) -> str:
    """Say that matplotlib is not installed, what follows from it, and what to do."""
    return f"matplotlib is not installed: {consequence}. To get it: pip install -e '.[plots]'"


def new_figure(width: float, height: float, **options: Any) -> "Figure":
    """Return an empty figure of that many inches, without a window or shared state.

    Raises `RequestError` without matplotlib.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot: it keeps figures, and asks for a display
    except ModuleNotFoundError:
        raise RequestError(advice("no plot can be drawn")) from None
    return Figure(figsize=(width, height), **options)


def save_figure(figure: "Figure", file: Path) -> None:
    """Write the figure atomically, in the format that the name's ending says; `RequestError` for an unknown one."""
    kinds = figure.canvas.get_supported_filetypes()
    kind = file.suffix[1:].lower()
    if kind not in kinds:
        raise RequestError(f"a plot's name ends in one of {', '.join(sorted(kinds))}; got {file}")
    with atomic_write(file) as target:
        figure.savefig(target, format=kind, dpi=150, bbox_inches="tight")
