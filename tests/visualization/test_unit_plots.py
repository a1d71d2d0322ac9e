import numpy as np

from charrnn.analysis.text_features import FEATURES
from charrnn.visualization.unit_plots import best_unit_per_feature

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
