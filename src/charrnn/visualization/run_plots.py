"""Pictures of many runs: their validation curves, and what each setting that differs does to the result."""

import math
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from charrnn.runs.comparison import differing, groups, setting_text, uncommon
from charrnn.runs.leaderboard import short_names, short_value
from charrnn.runs.records import Record, validation_curve
from charrnn.utils.errors import RequestError
from charrnn.utils.tables import NOTHING
from charrnn.visualization.figure import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESULT = "val_bits_per_char"
BITS = "validation, bits per character"
ACROSS = {"steps": "step", "characters": "characters read", "minutes": "minutes of training"}
LINE_INCHES = 0.19  # of text
LABEL_LETTERS = 70  # in a line
PANELS_ABREAST = 3
PANEL_LETTERS = 36  # below an axis, side by side
LONG = 20  # letters of a value; of a longer one the end
NEAREST_TICKS = 0.1  # of the axis; the values themselves would run into each other
MOST_KEYS = 4  # named in full beside a curve

Curve = list[tuple[float, float]]  # across, bits per character


def draw_curves(records: Sequence[Record], across: str, file: Path) -> list[Record]:
    """Draw validation over steps, characters or minutes; return the runs that have no curve.

    Runs that differ in the seed only share a color; those that did not end are dashed. Raises `RequestError` without
    matplotlib, or if no run has a curve.
    """
    curves = {record.folder: _curve(record, across) for record in records}
    drawn = [record for record in records if curves[record.folder]]
    if not drawn:
        raise RequestError("no run has a validation curve to draw; the first validation may have yet to come")
    keys = differing(drawn)
    best_first = sorted(groups(drawn, keys), key=lambda group: min(curves[record.folder][-1][1] for record in group))
    labels = _names(best_first, keys)
    figure = new_figure(8, max(5, LINE_INCHES * sum(1 + label.count("\n") for label in labels)))
    axes = figure.add_subplot(xlabel=ACROSS[across], ylabel=BITS)
    for color, label, group in zip(_colors(len(labels)), labels, best_first, strict=True):
        axes.plot([], [], color=color, label=label)
        for record in group:
            style = "-" if record.complete else "--"
            axes.plot(*zip(*curves[record.folder], strict=True), style, color=color, linewidth=1.3, marker=".")
    axes.set_ylim(*_range(drawn, [bits for record in drawn for _, bits in curves[record.folder]]))
    for text in axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9, frameon=False).get_texts():
        text.set_parse_math(False)
    _save(figure, file)
    return [record for record in records if not curves[record.folder]]


def _curve(record: Record, across: str) -> Curve:
    sizes = [record.settings.get(key) for key in ("data.batch_size", "data.sequence_length")]
    accumulated = record.settings.get("trainer.accumulate_grad_batches", 1)
    if across == "characters" and not all(isinstance(size, int) for size in (*sizes, accumulated)):
        return []
    factor = math.prod((*sizes, accumulated)) if across == "characters" else 1
    return [
        (point.seconds / 60 if across == "minutes" else point.step * factor, point.bits_per_char)
        for point in validation_curve(record)
    ]


def _names(grouped: Sequence[Sequence[Record]], keys: Sequence[str]) -> list[str]:
    """What sets each group apart; of many keys those only that most groups do not share."""
    names, settings = short_names(keys), [group[0].settings for group in grouped]
    labels = []
    for group, own in zip(grouped, settings, strict=True):
        told = uncommon(own, keys, settings) if len(keys) > MOST_KEYS else [key for key in keys if key in own]
        values = ", ".join(f"{names[key]} {_cut(short_value(key, setting_text(own[key])))}" for key in told)
        unfinished = sum(not record.complete for record in group)
        notes = [f"{len(group)} runs"] * (len(group) > 1) + [f"{unfinished} unfinished"] * (unfinished > 0)
        label = (values or group[0].folder.name) + (f" ({', '.join(notes)})" if notes else "")
        labels.append(textwrap.fill(label, LABEL_LETTERS, break_long_words=False, break_on_hyphens=False))
    return labels


def _cut(text: str) -> str:
    return text if len(text) <= LONG else f"…{text[-LONG:]}"


def draw_effects(records: Sequence[Record], file: Path) -> None:
    """Draw validation over the values of every setting that differs: each run a point, the medians a line.

    The axis is logarithmic where the values span more than a decade; a triangle at the top is worse than shown.
    Raises `RequestError` without matplotlib, or if no two runs with a result differ.
    """
    ended = [record for record in records if record.complete and record.number(RESULT) is not None and record.settings]
    effects = {key: effect for key in differing(ended) if len(effect := _by_value(ended, key)) > 1}
    if not effects:
        raise RequestError("no two finished runs differ in a setting, so there is no effect to draw")
    low, high = _range(ended, [record.summary[RESULT] for record in ended])
    abreast = min(PANELS_ABREAST, len(effects))
    rows = math.ceil(len(effects) / abreast)
    figure = new_figure(3.4 * abreast + 0.6, 3.0 * rows, layout="constrained")
    names = short_names(list(effects))
    for place, (key, effect) in enumerate(effects.items()):
        axes = figure.add_subplot(rows, abreast, place + 1, ylim=(low, high))
        axes.set_xlabel(names[key], parse_math=False)
        axes.set_ylabel(BITS if place % abreast == 0 else "")
        _draw_effect(axes, {short_value(key, value): bits for value, bits in effect.items()}, high)
    _save(figure, file)


def _by_value(records: Sequence[Record], key: str) -> dict[Any, list[float]]:
    """The results by the value of `key`, in its order: numbers if all are, else texts."""
    values = [record.settings.get(key) for record in records]
    numeric = all(type(value) in (int, float) for value in values)
    found: dict[Any, list[float]] = {}
    for record, value in zip(records, values, strict=True):
        text = setting_text(value) if key in record.settings else NOTHING
        found.setdefault(value if numeric else text, []).append(record.summary[RESULT])
    return dict(sorted(found.items()))


def _draw_effect(axes: "Axes", effect: dict[Any, list[float]], high: float) -> None:
    numeric = not any(isinstance(value, str) for value in effect)
    across = list(effect) if numeric else list(range(len(effect)))
    if numeric and min(across) > 0 and max(across) / min(across) > 10:
        axes.set_xscale("log")
    medians = [median(results) for results in effect.values()]
    axes.plot(across, medians, "-" if numeric else "_", color="C0", markersize=24, linewidth=1.5)
    for value, results in zip(across, effect.values(), strict=True):
        for bits in results:
            axes.plot(value, min(bits, high), "^" if bits > high else "o", color="C0", alpha=0.6, clip_on=False)
    places = [math.log(value) for value in across] if axes.get_xscale() == "log" else across
    nearest = min(b - a for a, b in pairwise(places)) / (places[-1] - places[0])
    if not numeric or nearest > NEAREST_TICKS:
        texts = [_cut(setting_text(value)) for value in effect]
        slant = 20 if len("  ".join(texts)) > PANEL_LETTERS else 0
        axes.set_xticks(across, texts, parse_math=False, rotation=slant, ha="right" if slant else "center")
        axes.set_xticks([], minor=True)
    if not numeric:
        axes.set_xlim(-0.5, len(across) - 0.5)


def _range(records: Sequence[Record], values: Sequence[float]) -> tuple[float, float]:
    """What the picture shows of these bits per character: not what is worse than a blind guess among all symbols."""
    low, high = min(values), max(values)
    blind = max((math.log2(symbols) for record in records if (symbols := record.number("vocabulary_size"))), default=0)
    high = blind if low < blind < high else high
    margin = 0.05 * (high - low) or 0.1
    return low - margin, high + margin


def _colors(count: int) -> list[Any]:
    """Ten that are easily told apart; for more, from dark to light."""
    from matplotlib import colormaps

    return [colormaps["tab10"](i) if count <= 10 else colormaps["viridis"](0.9 * i / count) for i in range(count)]


def _save(figure: "Figure", file: Path) -> None:
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, file)
