"""Plot the diagnostics of a network with matplotlib; each function takes numbers and returns a figure of one panel.

TensorBoard shows these plots at half of their size, hence the large type.

S training step, H hidden unit, K time lag or character of context.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charrnn.visualization.figure import new_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.floating]

SIZE, DPI = (6.0, 4.0), 100  # inches, pixels per inch
FONT_SIZE, SMALL_FONT_SIZE = 14, 12  # points
MAX_CURVES = 5  # more training steps in one plot would be hard to tell apart
MIN_SHOWN_SHARE = 1e-4  # of the gradient at lag 1; smaller values have the darkest color of the map
FIRST_COLOR, SECOND_COLOR, MUTED_COLOR = "#1f5f99", "#c44e22", "#666666"
SHARE_LABEL = "gradient, share of lag 1"
LAG_LABEL = "lag k [characters]"


def gradient_by_lag(
    shares_by_step: Mapping[int, Sequence[float]], lags: Sequence[int], chunk_length: int, vanished_share: float
) -> "Figure":
    """Plot the gradient of an error with respect to the state k characters earlier, as a curve per training step.

    `shares_by_step` maps a training step to the gradient at each lag, relative to lag 1 [K]. Below `vanished_share`,
    the network learns little; beyond `chunk_length`, the number of steps of truncated backpropagation, nothing.
    """
    from matplotlib import colormaps

    steps = sorted(shares_by_step)
    figure, axes = _panel("Gradient by time lag", LAG_LABEL, SHARE_LABEL)
    for i in sorted({round(i) for i in np.linspace(0, len(steps) - 1, MAX_CURVES)}):
        color = colormaps["viridis"](0.9 * i / max(1, len(steps) - 1))
        axes.plot(lags, shares_by_step[steps[i]], color=color, marker=".", label=f"step {steps[i]:,}")
    low = max(min(min(shares_by_step[step]) for step in steps), MIN_SHOWN_SHARE)
    axes.set(yscale="log", xlim=(0, lags[-1] * 1.02), ylim=(low / 2, 2))
    axes.axhline(vanished_share, color=MUTED_COLOR, linestyle="--", linewidth=1, label=f"vanished, {vanished_share:g}")
    if chunk_length <= lags[-1]:
        axes.axvline(chunk_length, color=MUTED_COLOR, linestyle=":", linewidth=1.5, label="chunk length")
    _legend(axes)
    return figure


def gradient_over_training(shares_by_step: Mapping[int, Sequence[float]], lags: Sequence[int]) -> "Figure":
    """Plot the gradient by time lag as a map over the training; see `gradient_by_lag`."""
    from matplotlib.colors import LogNorm

    steps = sorted(shares_by_step)
    shares_SK = np.array([shares_by_step[step] for step in steps], dtype=float)
    figure, axes = _panel("Gradient by time lag, over training", "training step", LAG_LABEL)
    # Each column spans the time since the previous measurement.
    edges, norm = ([0, *steps], np.arange(len(lags) + 1) - 0.5), LogNorm(MIN_SHOWN_SHARE, 1.0, clip=True)
    image = axes.pcolormesh(*edges, shares_SK.T, norm=norm)
    octaves = {row: str(lag) for row, lag in enumerate(lags) if lag.bit_count() == 1}
    axes.set_yticks([*octaves], [*octaves.values()])
    axes.locator_params(axis="x", nbins=5)
    colorbar = figure.colorbar(image, ax=axes)
    colorbar.minorticks_off()
    colorbar.ax.tick_params(labelsize=SMALL_FONT_SIZE)
    colorbar.set_label(SHARE_LABEL, fontsize=SMALL_FONT_SIZE)
    return figure


def eigenvalues(eigenvalues_H: NDArray[np.complexfloating], step: int) -> "Figure":
    """Plot the eigenvalues of a W_hh in the complex plane.

    Without the activation function, directions outside the unit circle grow at every time step; those inside fade.
    """
    radius = np.abs(eigenvalues_H).max()
    figure, axes = _panel(f"W_hh at step {step:,}: spectral radius {radius:.2f}", "real part", "imaginary part")
    angles = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(angles), np.sin(angles), color=MUTED_COLOR, linewidth=1, label="unit circle")
    axes.plot(eigenvalues_H.real, eigenvalues_H.imag, ".", color=FIRST_COLOR, markersize=5, label="eigenvalues")
    axes.set_aspect("equal", adjustable="datalim")
    return figure


def singular_values(singular_values_H: Floats, step: int) -> "Figure":
    """Plot the singular values of a W_hh in descending order."""
    title = f"W_hh at step {step:,}: largest singular value {singular_values_H[0]:.2f}"
    figure, axes = _panel(title, "index, largest first", "singular value")
    axes.plot(np.arange(1, len(singular_values_H) + 1), singular_values_H, color=FIRST_COLOR, linewidth=2)
    axes.axhline(1, color=MUTED_COLOR, linewidth=1)
    axes.set_ylim(bottom=0)
    return figure


def loss_by_context(reset_K: Floats, carried_K: Floats, characters: int | None, step: int) -> "Figure":
    """Plot the loss by the number of characters read since a zero state, and the loss with the state carried over.

    Point k is the mean over the contexts k ... 2k - 1 (`analysis.memory.octave_means`). `characters` is the effective
    context; None if it is longer than the plot.
    """
    contexts = np.arange(1, len(reset_K) + 1)
    result = f"{characters} characters" if characters is not None else f"more than {contexts[-1]} characters"
    title = f"Effective context at step {step:,}: {result}"
    figure, axes = _panel(title, "context k [characters]", "bits per character")
    axes.plot(contexts, reset_K, color=FIRST_COLOR, linewidth=2, label="k characters after a zero state")
    axes.plot(contexts, carried_K, color=SECOND_COLOR, linestyle="--", linewidth=2, label="state carried over")
    top = min(reset_K.max(), carried_K.max() + 3.6)  # cuts off the first contexts, whose loss may be far higher
    axes.set_ylim(carried_K.min() - 0.3, top + 0.15)
    _context_axis(axes, characters)
    _legend(axes)
    return figure


def gain_by_context(reset_K: Floats, carried_K: Floats, characters: int | None, min_gain: float) -> "Figure":
    """Plot how much more the zero state costs than the carried one; see `loss_by_context`.

    Beyond the effective context, more context helps by less than `min_gain` bits per character.
    """
    figure, axes = _panel("Extra loss after a zero state", "context k [characters]", "bits per character")
    contexts = np.arange(1, len(reset_K) + 1)
    axes.plot(contexts, np.maximum(reset_K - carried_K, min_gain / 100), color=FIRST_COLOR, linewidth=2)
    axes.axhline(min_gain, color=MUTED_COLOR, linestyle="--", linewidth=1, label=f"hardly any: {min_gain:.2g}")
    axes.set(yscale="log")
    axes.set_ylim(bottom=min_gain / 20)
    _context_axis(axes, characters)
    _legend(axes)
    return figure


def _context_axis(axes: "Axes", characters: int | None) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if characters is not None:
        axes.axvline(characters, color=MUTED_COLOR, linestyle=":", linewidth=1.5, label="effective context")


def _panel(title: str, x_label: str, y_label: str) -> tuple["Figure", "Axes"]:
    figure = new_figure(*SIZE, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=FONT_SIZE, wrap=True)
    axes.set_xlabel(x_label, fontsize=FONT_SIZE)
    axes.set_ylabel(y_label, fontsize=FONT_SIZE)
    axes.tick_params(labelsize=SMALL_FONT_SIZE)
    style_axes(axes, grid=False)
    return figure, axes


def _legend(axes: "Axes") -> None:
    axes.legend(fontsize=SMALL_FONT_SIZE, edgecolor="none")
