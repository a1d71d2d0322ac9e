import numpy as np
import pytest
import torch

from charrnn.analysis import units
from charrnn.analysis.text_features import features_of
from charrnn.network.char_rnn import CHUNK
from charrnn.utils.errors import RequestError
from handmade import QUOTES, TEXT, MakeNetwork, quote_detector


def test_a_hand_made_quote_detector_is_found(make_network: MakeNetwork) -> None:
    network, vocabulary = quote_detector(make_network)
    ids = vocabulary.encode(TEXT)
    found_UF = units.correlations(units.read_states(network, ids), features_of(ids, vocabulary))
    assert found_UF[3, QUOTES] > 0.99
    assert np.abs(found_UF[3]).argmax() == QUOTES
    assert np.abs(np.delete(found_UF[:, QUOTES], 3)).max() < 0.99


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_states_match_single_steps(make_network: MakeNetwork, cell: str) -> None:
    network = make_network(cell=cell, layers=3, residual=True)
    ids = np.random.default_rng(0).integers(7, size=CHUNK + 3).astype(np.uint8)
    found_UN = units.read_states(network, ids)
    state_LBS, expected = network.initial_state(1), []
    with torch.inference_mode():
        for id_ in ids:
            _, state_LBS = network.step(torch.tensor([int(id_)]), state_LBS)
            expected.append(state_LBS[:, 0, :5].flatten())
    np.testing.assert_allclose(found_UN, torch.stack(expected).T, atol=1e-5)


def test_correlations_match_numpy_and_are_0_for_constant_rows() -> None:
    random = np.random.default_rng(0)
    states_UN = random.normal(size=(units.UNITS_PER_BLOCK + 3, 200)).astype(np.float32)
    features_FN = random.normal(size=(4, 200)).astype(np.float32)
    states_UN[1], features_FN[2] = 0.1, 3.0
    found_UF = units.correlations(states_UN, features_FN)
    assert not found_UF[1].any()
    assert not found_UF[:, 2].any()
    varying_U, varying_F = np.delete(np.arange(len(states_UN)), 1), [0, 1, 3]
    expected = np.corrcoef(states_UN[varying_U], features_FN[varying_F])[: len(varying_U), len(varying_U) :]
    np.testing.assert_allclose(found_UF[np.ix_(varying_U, varying_F)], expected, atol=1e-6)


def test_activity_of_tanh_and_of_relu(make_network: MakeNetwork) -> None:
    states_UN = np.array([[0.0, 0.98, -0.99, 0.5], [0.0, 0.0, 0.0, 0.0]])
    tanh = units.activity(states_UN, make_network(activation="tanh"))
    assert tanh.scales_U.tolist() == [1, 1]
    assert tanh.histograms_UK[0].sum() == 1
    assert tanh.histograms_UK[0, [0, -1]].tolist() == [0.25, 0.25]
    relu = units.activity(np.array([[0.0, 5.0, 1.0, 0.0], [0.0] * 4]), make_network(activation="relu"))
    assert relu.histograms_UK[0, [0, 8, -1]].tolist() == [0.5, 0.25, 0.25]


def test_nan_activations_are_an_error(make_network: MakeNetwork) -> None:
    network = make_network()
    with torch.no_grad():
        network.cells[0].hidden_bias[0] = torch.nan
    with pytest.raises(RequestError, match="NaN or infinite"):
        units.read_states(network, np.zeros(3, np.uint8))
    with pytest.raises(RequestError, match="at least 1 character"):
        units.read_states(network, np.zeros(0, np.uint8))
