import re
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.runs.records import Point, Record
from charrnn.utils.errors import RequestError
from charrnn.visualization import run_plots
from charrnn.visualization.figure import label_ends, new_figure, save_figure, spread
from charrnn.visualization.run_plots import draw_curves, draw_effects

matplotlib = pytest.importorskip("matplotlib")
SIZES = {"data.batch_size": 4, "data.sequence_length": 8}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of figures that are saved during the test."""
    saved: list[Any] = []
    save = run_plots.save_figure
    monkeypatch.setattr(run_plots, "save_figure", lambda *given: save(*given) or saved.append(given[0]))
    return saved


def record(name: str, bits: float | None, status: str = "finished", **settings: Any) -> Record:
    dotted = {key.replace("_", ".", 1): value for key, value in settings.items()}
    summary = {"status": status, "val_bits_per_char": bits, "vocabulary_size": 64}
    return Record(Path("/runs") / name, {**SIZES, **dotted}, summary)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    curves: dict[str, Sequence[Point]] = {
        "a1": [Point(10, 60.0, 3.0), Point(20, 120.0, 2.0)],
        "a2": [Point(10, 60.0, 3.5), Point(20, 120.0, 2.5)],
        "b": [Point(10, 30.0, 90.0), Point(20, 60.0, 4.0)],  # worse than a uniform guess, which costs 6
        "killed": [Point(10, 30.0, 5.0)],
    }
    monkeypatch.setattr(run_plots, "validation_curve", lambda run: curves.get(run.folder.name, []))
    return [
        record("a1", 2.0, optimizer_lr=0.1, seed=1),
        record("a2", 2.5, optimizer_lr=0.1, seed=2),
        record("b", 4.0, optimizer_lr=0.001, seed=1),
        record("killed", None, "interrupted", optimizer_lr=1.0, seed=1),
        record("refused", None, "failed", optimizer_lr=-1.0, seed=1),
    ]


@pytest.mark.parametrize(("x", "last"), [("steps", 20), ("characters", 20 * 4 * 8), ("minutes", 2.0)])
def test_runs_of_a_group_share_a_color_and_a_label(
    x: str, last: float, runs: list[Record], figures: list[Any], tmp_path: Path
) -> None:
    without = draw_curves({"a.txt": runs}, x, tmp_path / "curves.svg")
    assert [run.folder.name for run in without] == ["refused"]
    (axes,) = figures[0].axes
    a1, a2, b, killed = (line for line in axes.lines if len(line.get_xdata()))
    assert a1.get_xdata()[-1] == last
    assert list(a1.get_ydata()) == [3.0, 2.0]
    assert a1.get_color() == a2.get_color() != b.get_color()
    assert (a1.get_linestyle(), killed.get_linestyle()) == ("-", "--")
    named = [text.get_text() for text in sorted(axes.texts, key=lambda text: -text.get_position()[1])]
    assert named == ["lr 1 (1 unfinished)", "lr 0.001", "lr 0.1 (2 runs)"]  # from top to bottom
    assert 6 < axes.get_ylim()[1] < 7  # values worse than a uniform guess are cut off
    assert "</svg>" in (tmp_path / "curves.svg").read_text()


def test_effects_have_a_panel_per_setting_and_medians(figures: list[Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    results = {(lr, cell): rng.uniform(2, 5, 3) for lr in (1e-3, 1e-2, 0.1) for cell in ("gru", "elman")}
    runs = [
        record(f"{place}", bits, optimizer_lr=lr, model_cell=cell, model_layers=1 + place % 2, seed=place)
        for (lr, cell), three in results.items()
        for place, bits in enumerate(three)
    ]
    torn = Record(Path("/runs/torn"), {}, {"status": "finished", "val_bits_per_char": 3.0})
    draw_effects({"a.txt": [*runs, torn]}, tmp_path / "e.png")
    panels = {axes.get_xlabel(): axes for axes in figures[0].axes}
    assert set(panels) == {"lr", "cell", "layers"}
    assert [panels[name].get_xscale() for name in ("lr", "layers")] == ["log", "linear"]
    of_lr = [np.concatenate([results[lr, cell] for cell in ("gru", "elman")]) for lr in (1e-3, 1e-2, 0.1)]
    np.testing.assert_allclose(panels["lr"].lines[0].get_ydata(), np.median(of_lr, axis=1))
    points = sorted(value for line in panels["lr"].lines[1:] for value in line.get_ydata())
    np.testing.assert_allclose(points, np.sort(np.concatenate(of_lr)))
    assert [label.get_text() for label in panels["cell"].get_xticklabels()] == ["elman", "gru"]
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")


def test_a_result_above_the_y_limit_is_a_triangle_at_the_top(figures: list[Any], tmp_path: Path) -> None:
    draw_effects({"": [record("a", 2.0, optimizer_lr=1), record("b", 80.0, optimizer_lr=2)]}, tmp_path / "e.png")
    axes = figures[0].axes[0]
    drawn = [(line.get_marker(), line.get_ydata()[0]) for line in axes.lines[1:]]
    assert drawn == [("o", 2.0), ("^", axes.get_ylim()[1])]


def test_names_that_look_like_formulas_or_are_long(runs: list[Record], figures: list[Any], tmp_path: Path) -> None:
    odd = [
        Record(run.folder, {**run.settings, "model.cell": path}, run.summary)
        for run, path in zip(runs, ("$x_{$", "~/" + "/" * 90), strict=False)
    ]
    draw_curves({"": odd}, "steps", tmp_path / "c.png")
    draw_effects({"": odd}, tmp_path / "e.png")
    assert "cell $x_{$" in [text.get_text() for text in figures[0].axes[0].texts]
    (panel,) = (axes for axes in figures[1].axes if axes.get_xlabel() == "cell")
    assert [label.get_text() for label in panel.get_xticklabels()] == ["$x_{$", "…" + "/" * 20]


def test_each_text_has_panels_of_its_own(runs: list[Record], figures: list[Any], tmp_path: Path) -> None:
    texts = {"a.txt, validation 0.1": runs[:2], "b.txt": runs[2:], "no curve": runs[-1:]}
    draw_curves(texts, "steps", tmp_path / "c.png")
    assert [axes.get_title() for axes in figures[0].axes] == ["a.txt, validation 0.1", "b.txt"]
    labels = [{text.get_text() for text in axes.texts} for axes in figures[0].axes]
    assert labels == [{"a1 (2 runs)"}, {"lr 0.001", "lr 1 (1 unfinished)"}]
    several = [
        record(name, bits, model_hidden=hidden, data_sha256=name) for name, bits, hidden in (("c", 2, 1), ("d", 3, 2))
    ]
    draw_effects({"a.txt": several, "b.txt": several}, tmp_path / "e.png")
    panels = [(axes.get_title(), axes.get_xlabel()) for axes in figures[1].axes]
    assert panels == [("a.txt", "hidden"), ("b.txt", "hidden")]  # none for a hash


def test_labels_keep_apart_and_point_at_their_curves(figures: list[Any], tmp_path: Path) -> None:
    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    axes.set_ylim(0, 10)
    ends = [(1.0, 5.0), (2.0, 5.1), (3.0, 12.0), (3.0, 4.9)]
    label_ends(axes, ends, ["a", "b\nc", "high", "d"], ["C0", "C1", "C2", "C3"])
    places = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert sorted(places, key=lambda label: -places[label]) == ["high", "b\nc", "a", "d"]
    assert min(a - b for a, b in pairwise(sorted(places.values(), reverse=True))) > 0.03
    assert [text.xy for text in axes.texts if text.get_text() == "high"] == [(3.0, 10.0)]
    assert {text.arrow_patch.get_linestyle() for text in axes.texts} == {":"}
    save_figure(figure, tmp_path / "l.png")


@pytest.mark.parametrize(
    ("places", "heights", "expected"),
    [
        ([], [], []),
        ([0.2, 0.8], [0.1, 0.1], [0.2, 0.8]),  # apart already
        ([0.52, 0.5, 0.5], [0.1, 0.1, 0.1], [0.60667, 0.40667, 0.50667]),  # around their mean, in their order
        ([0.5, 0.5], [0.2, 0.1], [0.425, 0.575]),
        ([0.01, 0.02, 0.13], [0.1, 0.1, 0.1], [0.05, 0.15, 0.25]),  # not below the axes
        ([0.3, 0.31, 0.40], [0.1, 0.1, 0.1], [0.23667, 0.33667, 0.43667]),  # a moved label moves the next
    ],
)
def test_labels_are_spread_no_further_than_needed(
    places: list[float], heights: list[float], expected: list[float]
) -> None:
    assert spread(places, heights) == pytest.approx(expected, abs=1e-4)


def test_errors(runs: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="extension must be one of .*png"):
        draw_curves({"": runs}, "steps", tmp_path / "curves.txt")
    with pytest.raises(RequestError, match="no run has a validation curve"):
        draw_curves({"": runs[-1:]}, "steps", tmp_path / "curves.png")
    with pytest.raises(RequestError, match="no two finished runs differ"):
        draw_effects({"": runs[:2]}, tmp_path / "effects.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RequestError, match=re.escape("pip install -e '.[plots]'")):
        draw_effects({"": runs}, tmp_path / "effects.png")
    assert not list(tmp_path.iterdir())
