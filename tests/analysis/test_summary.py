from collections.abc import Callable

import numpy as np
import pytest
import torch

from charrnn.analysis.summary import LYAPUNOV_STEPS, MAX_LAG, diagnose
from charrnn.network import CharRNN

Make = Callable[..., CharRNN]


def test_metrics_and_charts_match_the_network(make_network: Make) -> None:
    network = make_network(hidden=6, recurrent_gain=0.5).eval()
    ids = np.random.default_rng(0).integers(0, 7, 3000).astype(np.uint8)
    found = diagnose(network, ids)
    assert found is not None
    (radius, exponent), (gradient, memory) = found["metrics"], found["charts"]
    weight_HH = network.get_parameter("cells.0.hidden_to_hidden").detach().numpy()
    assert float(radius[1]) == pytest.approx(np.abs(np.linalg.eigvals(weight_HH)).max(), abs=1e-3)
    assert float(exponent[1]) <= np.log(0.5)  # tanh' is at most 1
    points = np.array(gradient["series"][0]["points"])
    assert points[0].tolist() == [1, 1]
    assert (points[1:, 1] <= 0.5 ** (points[1:, 0] - 1) * 1.001).all()  # W_hh is half of an orthogonal matrix
    reset, carried = (dict(map(tuple, series["points"])) for series in memory["series"])
    assert max(reset) == MAX_LAG
    assert reset[MAX_LAG] == pytest.approx(carried[MAX_LAG], abs=1e-4)
    with torch.no_grad():
        network.hidden_to_output.zero_()
        network.output_bias.zero_()
    found = diagnose(network, ids)
    assert found is not None
    assert {round(bits, 4) for _, bits in found["charts"][1]["series"][0]["points"]} == {round(np.log2(7), 4)}


def test_a_short_text_has_no_diagnostics(make_network: Make) -> None:
    assert diagnose(make_network(), np.zeros(LYAPUNOV_STEPS, np.uint8)) is None
