"""Plot many runs: their validation curves, and the effect of each setting that differs on the result."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from charrnn.runs.comparison import differing, groups, setting_text, uncommon
from charrnn.runs.leaderboard import short_names, short_value
from charrnn.runs.records import Record, validation_curve
from charrnn.utils.errors import RequestError
from charrnn.utils.tables import EMPTY_CELL
from charrnn.visualization.figure import label_ends, new_figure, new_panels, save_figure, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULT = "val_bits_per_char"
Y_LABEL = "validation, bits per character"
X_LABELS = {"steps": "step", "characters": "characters read", "minutes": "minutes of training"}
LABEL_WIDTH = 50  # characters
MAX_COLUMNS = 3
TICK_LABELS_WIDTH = 36  # characters below one panel; longer labels are rotated
MAX_VALUE_LENGTH = 20  # characters; a longer value is cut at the front, since the end of a path says most
MIN_TICK_DISTANCE = 0.1  # as a share of the axis; closer tick labels would overlap
MAX_LABEL_KEYS = 4  # with more keys, a label omits the values that most runs share

FILES = ("init_from", "data.test_path", "data.validation_path", "hydra.run.dir")

Curve = list[tuple[float, float]]  # x, bits per character
Texts = Mapping[str, Sequence[Record]]  # see `runs.comparison.by_text`


def draw_curves(texts: Texts, x: str, file: Path) -> list[Record]:
    """Plot the validation loss over `x` (a key of X_LABELS), and return the runs that have no curve.

    Each text has a panel of its own. Runs that differ only in the seed share a color; unfinished runs are dashed.
    Raises `RequestError` if matplotlib is not installed or no run has a curve.
    """
    curves = {record.folder: _curve(record, x) for records in texts.values() for record in records}
    drawn = {text: [record for record in records if curves[record.folder]] for text, records in texts.items()}
    drawn = {text: records for text, records in drawn.items() if records}
    if not drawn:
        raise RequestError("no run has a validation curve; wait for the first validation, or name other runs")
    figure = new_figure(8, 5 * len(drawn))  # without a layout engine, which would make room for the labels
    figure.subplots_adjust(hspace=0.35)
    for index, (text, records) in enumerate(drawn.items()):
        axes = figure.add_subplot(len(drawn), 1, index + 1)
        axes.set(xlabel=X_LABELS[x], ylabel=Y_LABEL)
        axes.set_title(text if len(drawn) > 1 else "", parse_math=False)
        style_axes(axes, grid=True)
        _draw_curves(axes, records, curves)
    save_figure(figure, file)
    return [record for records in texts.values() for record in records if not curves[record.folder]]


def _draw_curves(axes: "Axes", records: Sequence[Record], curves: Mapping[Path, Curve]) -> None:
    keys = differing(records)
    best_first = sorted(groups(records, keys), key=lambda group: min(curves[record.folder][-1][1] for record in group))
    labels, colors = _labels(best_first, keys), _colors(len(best_first))
    for color, group in zip(colors, best_first, strict=True):
        for record in group:
            style = "-" if record.complete else "--"
            axes.plot(*zip(*curves[record.folder], strict=True), style, color=color, linewidth=1.3, marker=".")
    axes.set_ylim(*_y_limits(records, [bits for record in records for _, bits in curves[record.folder]]))
    ends = [min((curves[record.folder][-1] for record in group), key=lambda end: end[1]) for group in best_first]
    label_ends(axes, ends, labels, colors)


def _curve(record: Record, x: str) -> Curve:
    sizes = [record.settings.get(key) for key in ("data.batch_size", "data.sequence_length")]
    accumulated = record.settings.get("trainer.accumulate_grad_batches", 1)
    if x == "characters" and not all(isinstance(size, int) for size in (*sizes, accumulated)):
        return []
    factor = math.prod((*sizes, accumulated)) if x == "characters" else 1
    return [
        (point.seconds / 60 if x == "minutes" else point.step * factor, point.bits_per_char)
        for point in validation_curve(record)
    ]


def _labels(grouped: Sequence[Sequence[Record]], keys: Sequence[str]) -> list[str]:
    """Return a label per group: its settings, or only its uncommon ones if there are many keys."""
    names, settings = short_names(keys), [group[0].settings for group in grouped]
    labels = []
    for group, own in zip(grouped, settings, strict=True):
        shown = uncommon(own, keys, settings) if len(keys) > MAX_LABEL_KEYS else [key for key in keys if key in own]
        values = ", ".join(f"{names[key]} {_shorten(short_value(key, setting_text(own[key])))}" for key in shown)
        unfinished = sum(not record.complete for record in group)
        notes = [f"{len(group)} runs"] * (len(group) > 1) + [f"{unfinished} unfinished"] * (unfinished > 0)
        label = (values or group[0].folder.name) + (f" ({', '.join(notes)})" if notes else "")
        labels.append(textwrap.fill(label, LABEL_WIDTH, break_long_words=False, break_on_hyphens=False))
    return labels


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_VALUE_LENGTH else f"…{text[-MAX_VALUE_LENGTH:]}"


def draw_effects(texts: Texts, file: Path) -> None:
    """Plot the result against each setting that differs, one panel per setting: a point per run, a line of medians.

    Each text has panels of its own. The x axis is logarithmic if the values span a decade or more; a triangle at the
    top is a worse result than shown. Raises `RequestError` if matplotlib is not installed or no two finished runs
    differ.
    """
    panels = [(text, records, key, effect) for text, records in texts.items() for key, effect in _effects(records)]
    if not panels:
        raise RequestError("no two finished runs differ in a setting, so there is no effect to plot")
    figure, all_axes = new_panels(len(panels), MAX_COLUMNS, (3.4, 3.0), margin=0.6)
    names = short_names(list(dict.fromkeys(key for _, _, key, _ in panels)))
    for index, (axes, (text, records, key, effect)) in enumerate(zip(all_axes, panels, strict=True)):
        finished = _with_result(records)
        low, high = _y_limits(finished, [record.summary[RESULT] for record in finished])
        axes.set_ylim(low, high)
        axes.set_title(text if len(texts) > 1 else "", fontsize="medium", parse_math=False)
        axes.set_xlabel(names[key], parse_math=False)
        axes.set_ylabel(Y_LABEL if index % MAX_COLUMNS == 0 else "")
        _draw_effect(axes, {short_value(key, value): bits for value, bits in effect.items()}, high)
        style_axes(axes, grid=True)
    save_figure(figure, file)


def _with_result(records: Sequence[Record]) -> list[Record]:
    return [run for run in records if run.complete and run.number(RESULT) is not None and run.settings]


def _effects(records: Sequence[Record]) -> Iterator[tuple[str, dict[Any, list[float]]]]:
    """Yield each setting that has an effect to plot, with the results by its value; a file has none by its name."""
    finished = _with_result(records)
    for key in differing(finished):
        if key not in FILES and len(effect := _by_value(finished, key)) > 1:
            yield key, effect


def _by_value(records: Sequence[Record], key: str) -> dict[Any, list[float]]:
    """Return the results by the value of `key`, sorted by that value; as text unless all values are numbers."""
    values = [record.settings.get(key) for record in records]
    numeric = all(type(value) in (int, float) for value in values)
    results: dict[Any, list[float]] = {}
    for record, value in zip(records, values, strict=True):
        text = setting_text(value) if key in record.settings else EMPTY_CELL
        results.setdefault(value if numeric else text, []).append(record.summary[RESULT])
    return dict(sorted(results.items()))


def _draw_effect(axes: "Axes", effect: dict[Any, list[float]], high: float) -> None:
    numeric = not any(isinstance(value, str) for value in effect)
    xs = list(effect) if numeric else list(range(len(effect)))
    if numeric and min(xs) > 0 and max(xs) / min(xs) > 9.99:
        axes.set_xscale("log")
    medians = [median(results) for results in effect.values()]
    axes.plot(xs, medians, "-" if numeric else "_", color="C0", markersize=24, linewidth=1.5)
    for x, results in zip(xs, effect.values(), strict=True):
        for bits in results:
            axes.plot(x, min(bits, high), "^" if bits > high else "o", color="C0", alpha=0.6, clip_on=False)
    positions = [math.log(x) for x in xs] if axes.get_xscale() == "log" else xs
    nearest = min(b - a for a, b in pairwise(positions)) / (positions[-1] - positions[0])
    if not numeric or nearest > MIN_TICK_DISTANCE:
        texts = [_shorten(setting_text(value)) for value in effect]
        angle = 20 if len("  ".join(texts)) > TICK_LABELS_WIDTH else 0
        axes.set_xticks(xs, texts, parse_math=False, rotation=angle, ha="right" if angle else "center")
        axes.set_xticks([], minor=True)
    if not numeric:
        axes.set_xlim(-0.5, len(xs) - 0.5)


def _y_limits(records: Sequence[Record], values: Sequence[float]) -> tuple[float, float]:
    """Return the y limits in bits per character: values worse than a uniform guess over all symbols are cut off."""
    low, high = min(values), max(values)
    guess = max((math.log2(symbols) for record in records if (symbols := record.number("vocabulary_size"))), default=0)
    high = guess if low < guess < high else high
    margin = 0.05 * (high - low) or 0.1
    return low - margin, high + margin


def _colors(count: int) -> list[Any]:
    """Return distinct colors for up to ten lines, and a gradient from dark to light for more."""
    from matplotlib import colormaps

    return [colormaps["tab10"](i) if count <= 10 else colormaps["viridis"](0.9 * i / count) for i in range(count)]
