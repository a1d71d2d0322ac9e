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


def check(figure: Any, *expected: str) -> Any:
    """Check the size, the type and the labels of a plot, and return its axes."""
    assert (figure.get_size_inches() * figure.dpi).tolist() == [600, 400]
    axes = figure.axes[0]
    assert axes.title.get_fontsize() == axes.xaxis.label.get_fontsize() == axes.yaxis.label.get_fontsize() == 14
    for part in expected:
        assert part in texts(figure)
    image = pixels(figure)
    assert image.std() > 0.05
    return axes


def labeled(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line.get_ydata() for line in axes.lines if not line.get_label().startswith("_")}


def test_gradient_by_lag() -> None:
    given = {step: [(0.5 + 0.01 * step) ** (lag - 1) for lag in LAGS] for step in range(1, 21)}
    axes = check(diagnostic_plots.gradient_by_lag(given, LAGS, 4, 0.01), "Gradient by time lag", "[characters]")
    drawn = labeled(axes)
    assert len(drawn) == diagnostic_plots.MAX_CURVES + 2
    assert next(iter(drawn)) == "step 1" and [*drawn][-2:] == ["vanished, 0.01", "chunk length"]
    np.testing.assert_allclose(drawn["step 20"], given[20])
    assert axes.get_yscale() == "log"
    axes = check(diagnostic_plots.gradient_over_training(given, LAGS), "over training", "training step")
    (image,) = axes.collections
    np.testing.assert_allclose(image.get_array(), np.array(list(given.values())).T)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2", "4", "8"]


def test_a_vanished_gradient_of_a_single_validation() -> None:
    given = {500: [1.0, 0.1, 0.0, 0.0, 0.0, 0.0]}
    assert "chunk length" not in labeled(check(diagnostic_plots.gradient_by_lag(given, LAGS, 100, 0.01)))
    check(diagnostic_plots.gradient_over_training(given, LAGS))


def test_spectrum() -> None:
    values, sizes = np.array([0.5 + 1j, 0.5 - 1j, -2.0]), np.array([3.0, 1.0, 0.5])
    circle, points = check(diagnostic_plots.eigenvalues(values, 1500), "step 1,500: spectral radius 2.00").lines
    np.testing.assert_allclose(np.hypot(*circle.get_data()), 1.0)
    np.testing.assert_allclose(points.get_data(), [values.real, values.imag])
    axes = check(diagnostic_plots.singular_values(sizes, 1500), "largest singular value 3.00")
    np.testing.assert_allclose(axes.lines[0].get_ydata(), sizes)


@pytest.mark.parametrize(("characters", "answer"), [(4, "4 characters"), (None, "more than 8 characters")])
def test_memory(characters: int | None, answer: str) -> None:
    carried_K = np.full(8, 1.5)
    reset_K = carried_K + 2.0 ** -np.arange(8)
    figure = diagnostic_plots.loss_by_context(reset_K, carried_K, characters, 9000)
    axes = check(figure, f"step 9,000: {answer}", "bits per character")
    np.testing.assert_allclose(axes.lines[0].get_ydata()[:3], [2.5, 2.0, 1.75])
    assert ("effective context" in labeled(axes)) == (characters is not None)
    axes = check(diagnostic_plots.gain_by_context(reset_K, carried_K, characters, 0.01), "Extra loss")
    np.testing.assert_allclose(axes.lines[0].get_ydata()[:2], [1.0, 0.5])


def test_availability_of_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    assert figure.available()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not figure.available()
