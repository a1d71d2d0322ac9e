"""The empty picture that matplotlib draws on, where it is installed; it may not be there, and takes half a second."""

import importlib.util
from typing import TYPE_CHECKING, Any

from charrnn.errors import RequestError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ADVICE = "pictures need matplotlib, which is not installed; pip install matplotlib"


def missing() -> str | None:
    """What to do before pictures can be drawn; None if nothing is missing."""
    return None if importlib.util.find_spec("matplotlib") is not None else ADVICE


def new_figure(width: float, height: float, **options: Any) -> "Figure":
    """An empty picture of that many inches, without a window or shared state; `RequestError` without matplotlib."""
    try:
        from matplotlib.figure import Figure  # not pyplot: it keeps figures, and asks for a display
    except ModuleNotFoundError:
        raise RequestError(ADVICE) from None
    return Figure(figsize=(width, height), **options)
