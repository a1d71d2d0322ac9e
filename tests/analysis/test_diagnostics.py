"""Diagnostics against known results: linear networks with known eigenvalues, NumPy, finite differences."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from charrnn.analysis import gradient_flow, memory, states, weights
from charrnn.network import CharRNN

CELLS = [
    {"cell": "elman", "layers": 2, "residual": True},
    {"cell": "elman", "activation": "relu", "kernel": "fused"},
    {"cell": "gru", "layers": 2},
    {"cell": "lstm", "layers": 2, "residual": True},
]


@pytest.fixture
def make_any(make_network: Callable[..., CharRNN]) -> Callable[..., CharRNN]:
    """A network in float64."""
    return lambda **settings: make_network(**settings).double()


def make_linear(network: CharRNN, *matrices_HH: Tensor) -> CharRNN:
    """Set nonnegative matrices, so that all states stay above 0, where ReLU is the identity."""
    with torch.no_grad():
        for cell, matrix_HH in zip(network.cells, matrices_HH, strict=True):
            cell.hidden_to_hidden.copy_(matrix_HH)  # type: ignore[operator, union-attr]
            cell.input_to_hidden.abs_()  # type: ignore[operator, union-attr]
    return network


def positive(radius: float, hidden: int = 5) -> Tensor:
    matrix = np.random.default_rng(3).random((hidden, hidden))
    return torch.from_numpy(matrix * radius / np.abs(np.linalg.eigvals(matrix)).max())


def test_spectrum_matches_numpy() -> None:
    matrix = np.random.default_rng(1).normal(size=(9, 9))
    weight = torch.from_numpy(matrix)
    expected = np.linalg.eigvals(matrix)
    np.testing.assert_allclose(np.sort_complex(weights.eigenvalues(weight)), np.sort_complex(expected))
    assert weights.spectral_radius(weight) == pytest.approx(np.abs(expected).max())
    np.testing.assert_allclose(weights.singular_values(weight), np.linalg.svd(matrix, compute_uv=False))
    assert weights.spectral_radius(weight.bfloat16()) == pytest.approx(np.abs(expected).max(), rel=0.02)


def test_only_plain_layers_have_one_recurrent_matrix(make_any: Callable[..., CharRNN]) -> None:
    network = make_any(layers=2)
    assert [tuple(matrix.shape) for matrix in weights.recurrent_matrices(network)] == [(5, 5), (5, 5)]
    assert weights.recurrent_matrices(make_any(cell="lstm")) == []


def test_the_update_ratio() -> None:
    before = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert weights.update_ratio(before, 2 * before) == pytest.approx(0.5)
    assert weights.update_ratio(torch.zeros(2, 3), torch.zeros(2, 3)) == 0.0


@pytest.mark.parametrize("settings", CELLS)
def test_sampled_states_match_single_steps(settings: dict, make_any: Callable[..., CharRNN]) -> None:
    network, ids_TB = make_any(**settings), torch.randint(7, (11, 3))
    state_LBS, expected = network.initial_state(3), []
    for ids_B in ids_TB:
        _, state_LBS = network.step(ids_B, state_LBS)
        expected.append(state_LBS)
    sampled = states.sample_states(network, ids_TB, 3)
    torch.testing.assert_close(sampled, torch.stack(expected)[[2, 5, 8]])


def test_shares_of_saturated_dead_and_always_active_units() -> None:
    tanh_TBH = torch.tensor([[[0.5, -0.99, 0.0, 1.0]], [[-0.98, 0.2, 0.96, 0.9]]])
    assert states.saturated_share(tanh_TBH) == pytest.approx(3 / 8)
    relu_TBH = torch.tensor([[[0.0, 1.0, 0.0, 2.0, 0.0]], [[0.0, 3.0, 1.0, 0.5, 0.0]]])
    assert states.dead_share(relu_TBH) == pytest.approx(2 / 5)
    assert states.always_active_share(relu_TBH) == pytest.approx(2 / 5)
    assert states.state_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]])) == pytest.approx(3.0)


def test_lag_points_and_vanishing_lag() -> None:
    assert gradient_flow.lag_points(64) == [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64]
    assert gradient_flow.lag_points(20)[-2:] == [16, 20]
    assert gradient_flow.lag_points(1) == [1]
    assert gradient_flow.vanishing_lag([1, 2, 4], [1.0, 0.1, 0.0]) == 2.0
    assert gradient_flow.vanishing_lag([1, 2, 4], [5.0, 0.5, 0.0005]) == pytest.approx(2 + 2 / 3)
    assert gradient_flow.vanishing_lag([1, 2, 4], [1.0, 2.0, 4.0]) is None


@pytest.mark.parametrize("radius", [0.8, 1.1])
@pytest.mark.parametrize("kernel", ["reference", "fused"])
def test_the_gradient_of_a_linear_network_is_the_radius_to_the_power_of_the_lag(
    radius: float, kernel: str, make_network: Callable[..., CharRNN]
) -> None:
    orthogonal = torch.eye(5)[[2, 0, 3, 4, 1]]
    network = make_linear(make_network(activation="relu", kernel=kernel), radius * orthogonal)
    lags = gradient_flow.lag_points(40)
    norms_KL = gradient_flow.gradient_by_lag(network, torch.randint(7, (40, 6)), torch.randint(7, (6,)), lags)
    expected = torch.tensor([radius ** (lag - 1) for lag in lags])
    torch.testing.assert_close(norms_KL[:, 0] / norms_KL[0, 0], expected, rtol=1e-4, atol=0.0)
    lag = gradient_flow.vanishing_lag(lags, norms_KL[:, 0].tolist())
    assert lag == (pytest.approx(1 + math.log(0.01) / math.log(0.8)) if radius < 1 else None)


@pytest.mark.parametrize("settings", CELLS)
def test_the_gradient_by_lag_matches_finite_differences(settings: dict, make_any: Callable[..., CharRNN]) -> None:
    network = make_any(**settings)
    ids_TB, targets_B = torch.randint(7, (9, 1)), torch.randint(7, (1,))
    norms_KL = gradient_flow.gradient_by_lag(network, ids_TB, targets_B, [1, 3, 4])
    with torch.no_grad():
        for row, lag in enumerate([1, 3, 4]):
            _, state_LBS = network.unroll(ids_TB[:-lag], network.initial_state(1))
            gradient = torch.zeros_like(state_LBS)
            for index in range(state_LBS.numel()):
                step = torch.zeros_like(state_LBS)
                step.view(-1)[index] = 1e-6
                for sign in (1, -1):
                    logits_TBV, _ = network.unroll(ids_TB[-lag:], state_LBS + sign * step)
                    loss = nn.functional.cross_entropy(logits_TBV[-1], targets_B)
                    gradient.view(-1)[index] += sign * loss / 2e-6
            expected_L = gradient.norm(dim=-1)[:, 0]
            torch.testing.assert_close(norms_KL[row].double(), expected_L, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("radius", [0.7, 1.2])
def test_the_lyapunov_exponent_of_a_linear_network_is_the_log_of_its_spectral_radius(
    radius: float, make_any: Callable[..., CharRNN]
) -> None:
    ids_TB = torch.randint(7, (120, 2))
    network = make_linear(make_any(activation="relu"), positive(radius))
    assert gradient_flow.lyapunov_exponent(network, ids_TB, burn_in=20) == pytest.approx(math.log(radius), abs=1e-4)
    stacked = make_linear(make_any(activation="relu", layers=2, residual=True), positive(0.3), positive(radius))
    assert gradient_flow.lyapunov_exponent(stacked, ids_TB, burn_in=20) == pytest.approx(math.log(radius), abs=1e-4)


def test_a_dead_network_has_exponent_minus_infinity(make_any: Callable[..., CharRNN]) -> None:
    network = make_any(activation="relu")
    with torch.no_grad():
        network.cells[0].hidden_bias.fill_(-100.0)  # type: ignore[operator, union-attr]
    assert gradient_flow.lyapunov_exponent(network, torch.randint(7, (60, 2)), burn_in=10) == -math.inf


@pytest.mark.parametrize("remembered", [1, 3, 6])
def test_the_effective_context_of_a_shift_register_is_its_length(
    remembered: int, make_network: Callable[..., CharRNN]
) -> None:
    """A shift register: block j of its units is the character j steps ago; the text repeats after `remembered`."""
    symbols, hidden = 7, 7 * remembered
    network = make_network(symbols, hidden=hidden, activation="relu")
    cell = network.cells[0]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        cell.input_to_hidden[:symbols] = torch.eye(symbols)  # type: ignore[index]
        cell.hidden_to_hidden[symbols:, :-symbols] = torch.eye(hidden - symbols)  # type: ignore[index]
        network.hidden_to_output[:, -symbols:] = 50 * torch.eye(symbols)
    ids = np.tile(np.random.default_rng(0).permutation(symbols)[:remembered].astype(np.uint8), 500)
    loss = memory.loss_by_context(network, ids, 32)
    assert loss is not None
    expected_K = np.where(np.arange(1, 33) < remembered, math.log2(symbols), 0.0)
    np.testing.assert_allclose(loss.reset_K, expected_K, atol=1e-6)
    np.testing.assert_allclose(loss.carried_K, 0.0, atol=1e-6)
    assert memory.effective_context(loss) == remembered


def test_the_loss_by_context_matches_single_steps(
    make_network: Callable[..., CharRNN], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LANES", 2)
    network, ids = make_network(), np.random.default_rng(0).integers(7, size=41).astype(np.uint8)
    loss = memory.loss_by_context(network, ids, 5)
    assert loss is not None

    def bits(start: int, position: int) -> float:
        """Return the loss of the character after `position` in bits, reading from `start`."""
        state_LBS = network.initial_state(1)
        with torch.no_grad():
            for i in ids[start : position + 1]:
                logits_BV, state_LBS = network.step(torch.tensor([int(i)]), state_LBS)
            return -math.log2(float(logits_BV.softmax(1)[0, int(ids[position + 1])]))

    windows = [(lane, lane + offset) for lane in (0, 20) for offset in range(5, 16, 2)]
    for k in range(5):
        assert loss.reset_K[k] == pytest.approx(np.mean([bits(at, at + k) for _, at in windows]), abs=1e-5)
        assert loss.carried_K[k] == pytest.approx(np.mean([bits(lane, at + k) for lane, at in windows]), abs=1e-5)


def test_octave_means_and_an_effective_context_beyond_the_measured_ones() -> None:
    means = memory.octave_means(2.0 ** -np.arange(16))
    np.testing.assert_allclose(means[:3], [1, 3 / 8, (1 / 4 + 1 / 8 + 1 / 16) / 3])
    assert len(means) == 8
    carried_K = np.zeros(9)
    assert memory.effective_context(memory.LossByContext(carried_K + 1, carried_K)) is None
    assert memory.effective_context(memory.LossByContext(carried_K + 0.0144, carried_K)) == 1  # just below 0.01 nats
    assert memory.effective_context(memory.LossByContext(carried_K + 0.0145, carried_K)) is None
    assert memory.max_effective_context(memory.LossByContext(carried_K, carried_K)) == 5


def test_a_short_text_reduces_the_context(make_network: Callable[..., CharRNN]) -> None:
    assert memory.loss_by_context(make_network(), np.zeros(4, dtype=np.uint8), 100) is None
    loss = memory.loss_by_context(make_network(), np.zeros(60, dtype=np.uint8), 100)
    assert loss is not None
    assert len(loss.reset_K) == 29
