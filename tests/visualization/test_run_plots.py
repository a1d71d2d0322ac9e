import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.runs.records import Point, Record
from charrnn.utils.errors import RequestError
from charrnn.visualization import run_plots
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
    without = draw_curves(runs, x, tmp_path / "curves.svg")
    assert [run.folder.name for run in without] == ["refused"]
    (axes,) = figures[0].axes
    a1, a2, b, killed = (line for line in axes.lines if len(line.get_xdata()))
    assert a1.get_xdata()[-1] == last
    assert list(a1.get_ydata()) == [3.0, 2.0]
    assert a1.get_color() == a2.get_color() != b.get_color()
    assert (a1.get_linestyle(), killed.get_linestyle()) == ("-", "--")
    named = [text.get_text() for text in axes.get_legend().texts]
    assert named == ["lr 0.1 (2 runs)", "lr 0.001", "lr 1 (1 unfinished)"]
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
    draw_effects([*runs, torn], tmp_path / "e.png")
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
    draw_effects([record("a", 2.0, optimizer_lr=1), record("b", 80.0, optimizer_lr=2)], tmp_path / "e.png")
    axes = figures[0].axes[0]
    drawn = [(line.get_marker(), line.get_ydata()[0]) for line in axes.lines[1:]]
    assert drawn == [("o", 2.0), ("^", axes.get_ylim()[1])]


def test_names_that_look_like_formulas_or_are_long(runs: list[Record], figures: list[Any], tmp_path: Path) -> None:
    odd = [
        Record(run.folder, {**run.settings, "data.path": path}, run.summary)
        for run, path in zip(runs, ("$x_{$", "~/" + "/" * 90), strict=False)
    ]
    draw_curves(odd, "steps", tmp_path / "c.png")
    draw_effects(odd, tmp_path / "e.png")
    assert figures[0].axes[0].get_legend().texts[0].get_text() == "path $x_{$"
    (panel,) = (axes for axes in figures[1].axes if axes.get_xlabel() == "path")
    assert [label.get_text() for label in panel.get_xticklabels()] == ["$x_{$", "…" + "/" * 20]


def test_errors(runs: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="extension must be one of .*png"):
        draw_curves(runs, "steps", tmp_path / "curves.txt")
    with pytest.raises(RequestError, match="no run has a validation curve"):
        draw_curves(runs[-1:], "steps", tmp_path / "curves.png")
    with pytest.raises(RequestError, match="no two finished runs differ"):
        draw_effects(runs[:2], tmp_path / "effects.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RequestError, match=re.escape("pip install -e '.[plots]'")):
        draw_effects(runs, tmp_path / "effects.png")
    assert not list(tmp_path.iterdir())
