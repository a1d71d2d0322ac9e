"""The plots show the numbers they were given, and are labeled."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from charrnn.visualization import diagnostic_plots, figure

LAGS = [1, 2, 3, 4, 6, 8]


def pixels(figure: Any) -> np.ndarray:
    file = BytesIO()
    figure.savefig(file, format="png")
    file.seek(0)
    return np.asarray(imread(file))


def texts(figure: Any) -> str:
    axes = [text for ax in figure.axes for text in (ax.get_title(), ax.get_xlabel(), ax.get_ylabel())]
    return " ".join([*(text.get_text() for text in figure.texts), *axes])


@pytest.mark.parametrize("layers", [1, 2])
def test_gradient_by_lag(layers: int) -> None:
    given = {  # fades faster in higher layers and slower at later steps
        step: [[(0.5 + 0.01 * step - 0.2 * layer) ** (lag - 1) for layer in range(layers)] for lag in LAGS]
        for step in range(1, 21)
    }
    figure = diagnostic_plots.gradient_by_lag(given, LAGS, 4, 0.01)
    curves, heat_map = figure.axes[2 * layers - 2 : 2 * layers]  # of the highest layer
    drawn = {line.get_label(): line.get_ydata() for line in curves.lines if not line.get_label().startswith("_")}
    assert (len(drawn), next(iter(drawn)), list(drawn)[-1]) == (diagnostic_plots.MAX_CURVES + 1, "1", "chunk length")
    np.testing.assert_allclose(drawn["20"], np.array(given[20])[:, -1])
    assert curves.get_yscale() == "log"
    (image,) = heat_map.collections
    np.testing.assert_allclose(image.get_array(), np.array(list(given.values()))[:, :, -1].T)
    assert [label.get_text() for label in heat_map.get_yticklabels()] == ["1", "2", "4", "8"]
    for part in ("Gradient by time lag", "[characters]", "training step", "Below 0.01"):
        assert part in texts(figure)
    assert ("layer 1" in texts(figure)) == (layers == 2)
    assert pixels(figure).std() > 0.05


def test_a_vanished_gradient_of_a_single_validation() -> None:
    figure = diagnostic_plots.gradient_by_lag({500: [[1.0], [0.1], [0.0], [0.0], [0.0], [0.0]]}, LAGS, 100, 0.01)
    assert pixels(figure).std() > 0.05
    assert "chunk length" not in [line.get_label() for line in figure.axes[0].lines]


def test_spectrum() -> None:
    values, sizes = np.array([0.5 + 1j, 0.5 - 1j, -2.0]), np.array([3.0, 1.0, 0.5])
    figure = diagnostic_plots.spectrum([values], [sizes], 1500)
    plane, line = figure.axes
    circle, points = plane.lines
    np.testing.assert_allclose(np.hypot(*circle.get_data()), 1.0)
    np.testing.assert_allclose(points.get_data(), [values.real, values.imag])
    np.testing.assert_allclose(line.lines[0].get_ydata(), sizes)
    for part in ("spectral radius 2.00", "largest singular value 3.00", "step 1,500"):
        assert part in texts(figure)
    assert pixels(figure).std() > 0.05


@pytest.mark.parametrize(("characters", "answer"), [(4, "4 characters"), (None, "more than 8 characters")])
def test_memory(characters: int | None, answer: str) -> None:
    carried_K = np.full(8, 1.5)
    reset_K = carried_K + 2.0 ** -np.arange(8)
    figure = diagnostic_plots.memory(reset_K, carried_K, characters, 0.01, 9000)
    losses, excess = figure.axes
    np.testing.assert_allclose(losses.lines[0].get_ydata()[:3], [2.5, 2.0, 1.75])
    np.testing.assert_allclose(excess.lines[0].get_ydata()[:2], [1.0, 0.5])
    assert f"step 9,000: {answer}" in texts(figure)
    assert "nats per character" in texts(figure)
    assert pixels(figure).std() > 0.05


def test_availability_of_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    assert figure.available()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not figure.available()
