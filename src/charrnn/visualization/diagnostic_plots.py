"""Plot the diagnostics of a network with matplotlib; each function takes numbers and returns a figure.

S training step, H hidden unit, K time lag or character of context, L layer.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charrnn.visualization.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CURVES = 8  # more training steps in one plot would be hard to tell apart
MIN_SHOWN_SHARE = 1e-4  # of the gradient at lag 1; smaller values have the darkest color of the map
FIRST_COLOR, SECOND_COLOR, MUTED_COLOR = "#1f5f99", "#c44e22", "#666666"


def gradient_by_lag(
    shares_by_step: Mapping[int, Sequence[Sequence[float]]],
    lags: Sequence[int],
    chunk_length: int,
    vanished_share: float,
) -> "Figure":
    """Plot the gradient by time lag, as curves and as a map over the training, one row per layer.

    `shares_by_step` maps a training step to the gradient at each lag and layer, relative to lag 1 [K, L].
    `chunk_length` is the number of time steps of truncated backpropagation; below `vanished_share`, the gradient counts
    as vanished.
    """
    steps = sorted(shares_by_step)
    shares_SKL = np.array([shares_by_step[step] for step in steps], dtype=float)
    figure, rows = _figure(
        shares_SKL.shape[2],
        "Gradient by time lag: gradient of an error with respect to the state k characters earlier",
        f"Below {vanished_share:g} (dashed), the network learns little from characters that far back"
        + ("; beyond the chunk length (dotted), nothing." if chunk_length <= lags[-1] else "."),
    )
    for layer, (curves, heat_map) in enumerate(rows):
        name = f"layer {layer}" if len(rows) > 1 else ""
        _gradient_curves(curves, steps, shares_SKL[:, :, layer], lags)
        _gradient_map(heat_map, steps, shares_SKL[:, :, layer], lags)
        curves.axhline(vanished_share, color=MUTED_COLOR, linestyle="--", linewidth=1)
        if chunk_length <= lags[-1]:
            curves.axvline(chunk_length, color=MUTED_COLOR, linestyle=":", linewidth=1, label="chunk length")
        curves.legend(title="step", fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1, 1.03))
        curves.set_title(name)
        heat_map.set_title(name)
    return figure


def _gradient_curves(axes: "Axes", steps: Sequence[int], shares_SK: NDArray[np.floating], lags: Sequence[int]) -> None:
    from matplotlib import colormaps

    for i in sorted({round(i) for i in np.linspace(0, len(steps) - 1, MAX_CURVES)}):
        color = colormaps["viridis"](0.9 * i / max(1, len(steps) - 1))
        axes.plot(lags, shares_SK[i], color=color, marker=".", label=f"{steps[i]:,}")
    axes.set(yscale="log", xlim=(0, lags[-1] * 1.02), xlabel="lag k [characters]", ylabel="gradient, share of lag 1")


def _gradient_map(axes: "Axes", steps: Sequence[int], shares_SK: NDArray[np.floating], lags: Sequence[int]) -> None:
    from matplotlib.colors import LogNorm

    # Each column spans the time since the previous measurement.
    edges, norm = ([0, *steps], np.arange(len(lags) + 1) - 0.5), LogNorm(MIN_SHOWN_SHARE, 1.0, clip=True)
    image = axes.pcolormesh(*edges, shares_SK.T, norm=norm)
    octaves = {row: str(lag) for row, lag in enumerate(lags) if lag.bit_count() == 1}
    axes.set_yticks([*octaves], [*octaves.values()])
    axes.set(xlabel="training step", ylabel="lag k [characters]")
    axes.figure.colorbar(image, ax=axes, label="gradient, share of lag 1").minorticks_off()


def spectrum(
    eigenvalues_LH: Sequence[NDArray[np.complexfloating]], singular_values_LH: Sequence[NDArray[np.floating]], step: int
) -> "Figure":
    """Plot the eigenvalues of every layer's W_hh in the complex plane, and its singular values in order."""
    figure, rows = _figure(
        len(eigenvalues_LH),
        f"Spectrum of W_hh after training step {step:,}",
        "Without the activation function, directions outside the circle grow at every time step; those inside fade.",
    )
    for layer, (plane, line) in enumerate(rows):
        eigenvalues_H, singular_values_H = eigenvalues_LH[layer], singular_values_LH[layer]
        prefix = f"layer {layer}: " if len(rows) > 1 else ""
        angles = np.linspace(0, 2 * np.pi, 200)
        plane.plot(np.cos(angles), np.sin(angles), color=MUTED_COLOR, linewidth=1, label="unit circle")
        plane.plot(eigenvalues_H.real, eigenvalues_H.imag, ".", color=FIRST_COLOR, markersize=4, label="eigenvalues")
        plane.set_aspect("equal", adjustable="datalim")
        plane.set(xlabel="real part", ylabel="imaginary part")
        plane.set_title(f"{prefix}spectral radius {np.abs(eigenvalues_H).max():.2f}")
        plane.legend(fontsize="small", loc="upper left")
        line.plot(np.arange(1, len(singular_values_H) + 1), singular_values_H, color=FIRST_COLOR)
        line.axhline(1, color=MUTED_COLOR, linewidth=1)
        line.set(xlabel="index, largest first", ylabel="singular value")
        line.set_title(f"{prefix}largest singular value {singular_values_H[0]:.2f}")
        line.set_ylim(bottom=0)
    return figure


def memory(
    reset_K: NDArray[np.floating], carried_K: NDArray[np.floating], characters: int | None, min_gain: float, step: int
) -> "Figure":
    """Plot the loss by the number of characters read since a zero state, and the loss with the state carried over.

    Point k is the mean over the contexts k ... 2k - 1 (`analysis.memory.octave_means`). `characters` is the effective
    context: beyond it, more context helps by less than `min_gain` nats per character.
    """
    contexts = np.arange(1, len(reset_K) + 1)
    result = f"{characters} characters" if characters is not None else f"more than {contexts[-1]} characters"
    figure, ((losses, excess),) = _figure(
        1,
        f"Effective context after training step {step:,}: {result}",
        f"Beyond it, more context helps by less than {min_gain:g} nats per character "
        "(point k is the mean over contexts k to 2k - 1).",
    )
    losses.plot(contexts, reset_K, color=FIRST_COLOR, label="k characters after a zero state")
    losses.plot(contexts, carried_K, color=SECOND_COLOR, label="the same, state carried over")
    top = min(reset_K.max(), carried_K.max() + 2.5)  # cuts off the first contexts, whose loss may be far higher
    losses.set_ylim(carried_K.min() - 0.2, top + 0.1)
    losses.set_ylabel("loss [nats per character]")
    losses.legend()
    excess.plot(contexts, np.maximum(reset_K - carried_K, min_gain / 100), color=FIRST_COLOR)
    excess.axhline(min_gain, color=MUTED_COLOR, linestyle="--", linewidth=1)
    excess.set(yscale="log", ylabel="extra loss from a zero state [nats per character]")
    excess.set_ylim(bottom=min_gain / 20)
    for axes in (losses, excess):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="context k [characters]")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        if characters is not None:
            axes.axvline(characters, color=MUTED_COLOR, linestyle=":", linewidth=1)
    return figure


def _figure(rows: int, title: str, caption: str) -> tuple["Figure", NDArray]:
    figure = new_figure(11.0, rows * 3.4 + 1.0, dpi=100, layout="constrained")
    figure.suptitle(title, fontsize="large")
    figure.supxlabel(caption, fontsize="medium", color=MUTED_COLOR)
    return figure, figure.subplots(rows, 2, squeeze=False)
