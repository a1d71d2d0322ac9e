import numpy as np
import pytest

from charrnn.analysis.text_features import FEATURES
from charrnn.visualization.unit_plots import _heat_map, best_unit_per_feature

NAMES = [feature.name for feature in FEATURES]


def test_the_best_unit_of_each_feature_that_needs_memory() -> None:
    correlations_UF = np.zeros((3, len(FEATURES)))
    correlations_UF[0, NAMES.index("space")] = 1.0  # determined by the character just read, so it needs no memory
    correlations_UF[1, NAMES.index("indentation")] = -0.9
    correlations_UF[2, NAMES.index("indentation")] = 0.8
    correlations_UF[2, NAMES.index("inside brackets")] = 0.5
    correlations_UF[0, NAMES.index("position in the word")] = 0.05
    expected = [(1, NAMES.index("indentation")), (2, NAMES.index("inside brackets"))]
    assert best_unit_per_feature(correlations_UF, 4) == expected
    assert best_unit_per_feature(correlations_UF, 1) == expected[:1]
    assert len(best_unit_per_feature(np.zeros((3, len(FEATURES))), 4)) == 1


def test_units_that_follow_nothing_are_a_group_of_their_own_in_the_heat_map() -> None:
    pytest.importorskip("matplotlib")
    correlations_UF = np.zeros((4, len(FEATURES)))  # units 0 and 3 never fire
    correlations_UF[1, NAMES.index("indentation")] = 0.9
    correlations_UF[2, NAMES.index("space")] = -0.7
    figure = _heat_map(list("abc"), np.arange(12.0).reshape(4, 3) / 12, correlations_UF, 0)
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(labels) == sorted(["indentation", "space", "none of these"])
    assert labels[-1] == "none of these"
    assert axes.images[0].get_array()[-2:, 0].tolist() == [0.0, 0.75]
