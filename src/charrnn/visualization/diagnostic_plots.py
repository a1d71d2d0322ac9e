"""Pictures of the diagnostics, drawn by matplotlib; numbers in, a figure out.

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

LINES = 8  # more steps of a training in one picture can't be told apart
FAINTEST = 1e-4  # of the gradient at lag 1; the map shows less in its darkest color
FIRST, SECOND, QUIET = "#1f5f99", "#c44e22", "#666666"


def gradient_by_lag(
    shares_KL: Mapping[int, Sequence[Sequence[float]]], lags: Sequence[int], chunk: int, vanished: float
) -> "Figure":
    """How much of an error arrives k steps earlier: as curves and as a map over the training, a row per layer.

    `shares_KL` holds, by training step, the gradient at each lag and layer over that at lag 1; `chunk` is the number
    of steps that errors go back in training; less than `vanished` is nothing.
    """
    steps = sorted(shares_KL)
    shares_SKL = np.array([shares_KL[step] for step in steps], dtype=float)
    figure, rows = _figure(
        shares_SKL.shape[2],
        "Gradient by time lag: how much of an error reaches the state k characters earlier",
        f"Below {vanished:g} (dashed) the network can hardly learn from a character that far back"
        + (", beyond the chunk of training (dotted) not at all." if chunk <= lags[-1] else "."),
    )
    for layer, (curves, heat) in enumerate(rows):
        name = f"layer {layer}" if len(rows) > 1 else ""
        _gradient_curves(curves, steps, shares_SKL[:, :, layer], lags)
        _gradient_map(heat, steps, shares_SKL[:, :, layer], lags)
        curves.axhline(vanished, color=QUIET, linestyle="--", linewidth=1)
        if chunk <= lags[-1]:
            curves.axvline(chunk, color=QUIET, linestyle=":", linewidth=1, label="chunk")
        curves.legend(title="step", fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1, 1.03))
        curves.set_title(name)
        heat.set_title(name)
    return figure


def _gradient_curves(axes: "Axes", steps: Sequence[int], shares_SK: NDArray[np.floating], lags: Sequence[int]) -> None:
    from matplotlib import colormaps

    chosen = sorted({round(i) for i in np.linspace(0, len(steps) - 1, LINES)})
    for i in chosen:
        color = colormaps["viridis"](0.9 * i / max(1, len(steps) - 1))
        axes.plot(lags, shares_SK[i], color=color, marker=".", label=f"{steps[i]:,}")
    axes.set(yscale="log", xlim=(0, lags[-1] * 1.02), xlabel="lag k [characters]", ylabel="gradient, share of lag 1")


def _gradient_map(axes: "Axes", steps: Sequence[int], shares_SK: NDArray[np.floating], lags: Sequence[int]) -> None:
    from matplotlib.colors import LogNorm

    # Each column reaches back to the look before it.
    edges, norm = ([0, *steps], np.arange(len(lags) + 1) - 0.5), LogNorm(FAINTEST, 1.0, clip=True)
    image = axes.pcolormesh(*edges, shares_SK.T, norm=norm)
    octaves = {place: str(lag) for place, lag in enumerate(lags) if lag.bit_count() == 1}
    axes.set_yticks([*octaves], [*octaves.values()])
    axes.set(xlabel="training step", ylabel="lag k [characters]")
    axes.figure.colorbar(image, ax=axes, label="gradient, share of lag 1").minorticks_off()


def spectrum(
    eigenvalues_LH: Sequence[NDArray[np.complexfloating]], singular_values_LH: Sequence[NDArray[np.floating]], step: int
) -> "Figure":
    """The eigenvalues of every layer's W_hh in the complex plane, and its singular values by size."""
    figure, rows = _figure(
        len(eigenvalues_LH),
        f"What W_hh alone does to the state, after training step {step:,}",
        "Beyond the circle a direction grows from step to step and within it fades, as far as the activation lets it.",
    )
    for layer, (plane, line) in enumerate(rows):
        values_H, sizes_H = eigenvalues_LH[layer], singular_values_LH[layer]
        of = f"layer {layer}: " if len(rows) > 1 else ""
        angles = np.linspace(0, 2 * np.pi, 200)
        plane.plot(np.cos(angles), np.sin(angles), color=QUIET, linewidth=1, label="unit circle")
        plane.plot(values_H.real, values_H.imag, ".", color=FIRST, markersize=4, label="eigenvalues")
        plane.set_aspect("equal", adjustable="datalim")
        plane.set(xlabel="real part", ylabel="imaginary part")
        plane.set_title(f"{of}spectral radius {np.abs(values_H).max():.2f}")
        plane.legend(fontsize="small", loc="upper left")
        line.plot(np.arange(1, len(sizes_H) + 1), sizes_H, color=FIRST)
        line.axhline(1, color=QUIET, linewidth=1)
        line.set(xlabel="number, from the largest", ylabel="singular value")
        line.set_title(f"{of}largest singular value {sizes_H[0]:.2f}")
        line.set_ylim(bottom=0)
    return figure


def memory(
    reset_K: NDArray[np.floating], carried_K: NDArray[np.floating], characters: int | None, helps: float, step: int
) -> "Figure":
    """The loss by the number of characters read since the zero state, beside that with the state carried on.

    Point k of a curve is the mean over the contexts k ... 2k - 1, as `diagnostics.memory.octave_means` gives it.
    """
    contexts = np.arange(1, len(reset_K) + 1)
    answer = f"{characters} characters" if characters is not None else f"more than {contexts[-1]} characters"
    figure, ((losses, excess),) = _figure(
        1,
        f"Memory after training step {step:,}: {answer}",
        f"Beyond that number more context helps by less than {helps:g} nats per character "
        "(a point is the mean over k to 2k - 1).",
    )
    losses.plot(contexts, reset_K, color=FIRST, label="k characters after a zero state")
    losses.plot(contexts, carried_K, color=SECOND, label="the same, state carried on")
    highest = min(reset_K.max(), carried_K.max() + 2.5)  # the very first may be far above
    losses.set_ylim(carried_K.min() - 0.2, highest + 0.1)
    losses.set_ylabel("loss [nats per character]")
    losses.legend()
    excess.plot(contexts, np.maximum(reset_K - carried_K, helps / 100), color=FIRST)
    excess.axhline(helps, color=QUIET, linestyle="--", linewidth=1)
    excess.set(yscale="log", ylabel="lost by the zero state [nats per character]")
    excess.set_ylim(bottom=helps / 20)
    for axes in (losses, excess):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="context k [characters]")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        if characters is not None:
            axes.axvline(characters, color=QUIET, linestyle=":", linewidth=1)
    return figure


def _figure(rows: int, title: str, caption: str) -> tuple["Figure", NDArray]:
    figure = new_figure(11.0, rows * 3.4 + 1.0, dpi=100, layout="constrained")
    figure.suptitle(title, fontsize="large")
    figure.supxlabel(caption, fontsize="medium", color=QUIET)
    return figure, figure.subplots(rows, 2, squeeze=False)
