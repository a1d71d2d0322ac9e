import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from charrnn.data.vocabulary import Vocabulary
from charrnn.network.char_rnn import CELLS, CharRNN
from charrnn.runs import checkpoint_file
from charrnn.runs.load import load_network
from charrnn.utils.errors import RequestError
from conftest import save_network

Make = Callable[..., CharRNN]
V, B, T = 7, 3, 8
VOCABULARY = Vocabulary("abcdefg")


@pytest.mark.parametrize("layers", [1, 3])
def test_a_character_changes_no_earlier_output(make_network: Make, layers: int) -> None:
    network = make_network(layers=layers).double()
    ids_TB = torch.randint(V, (T, B))
    logits, _ = network.unroll(ids_TB, network.initial_state(B))
    for t in range(T):
        changed = ids_TB.clone()
        changed[t] = (changed[t] + 1) % V
        other, _ = network.unroll(changed, network.initial_state(B))
        assert torch.equal(other[:t], logits[:t])
        assert not torch.allclose(other[t:], logits[t:])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("layers", "residual"), [(1, False), (3, False), (3, True)])
def test_steps_chunks_and_one_unroll_agree(make_network: Make, cell: str, layers: int, residual: bool) -> None:
    network = make_network(cell=cell, layers=layers, residual=residual).double()
    ids_TB = torch.randint(V, (T, B))
    logits, last = network.unroll(ids_TB, network.initial_state(B))
    state = network.initial_state(B)
    for t in range(T):
        step_logits, state = network.step(ids_TB[t], state)
        torch.testing.assert_close(step_logits, logits[t])
    torch.testing.assert_close(state, last)

    first, state = network.unroll(ids_TB[:3], network.initial_state(B))
    second, state = network.unroll(ids_TB[3:], state)
    torch.testing.assert_close(torch.cat([first, second]), logits)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("cell", CELLS)
def test_characters_are_missing_in_training_only(make_network: Make, cell: str) -> None:
    network, plain = (make_network(cell=cell, layers=2, input_dropout=p) for p in (0.5, 0.0))
    plain.load_state_dict(network.state_dict())
    ids_TB, state = torch.randint(V, (T, B)), network.initial_state(B)
    torch.manual_seed(3)
    loss, _ = network.loss(ids_TB, ids_TB, state)
    torch.manual_seed(3)
    missing = network.input_dropout(ids_TB)
    assert (missing == V).any()
    assert loss.equal(plain.loss(missing, ids_TB, state)[0]) and not loss.equal(plain.loss(ids_TB, ids_TB, state)[0])
    assert network.eval().unroll(ids_TB, state)[0].equal(plain.eval().unroll(ids_TB, state)[0])


@pytest.mark.parametrize("cell", CELLS)
def test_labels_are_smoothed_in_training_only_and_change_the_gradients_alone(make_network: Make, cell: str) -> None:
    network, plain = (make_network(cell=cell, label_smoothing=share) for share in (0.2, 0.0))
    plain.load_state_dict(network.state_dict())
    ids_TB, state = torch.randint(V, (T, B)), network.initial_state(B)
    logits_TBV, _ = plain.unroll(ids_TB, state)
    expected = nn.functional.cross_entropy(logits_TBV.flatten(0, 1), ids_TB.flatten(), label_smoothing=0.2)
    losses = network.loss(ids_TB, ids_TB, state)[0], plain.loss(ids_TB, ids_TB, state)[0]
    assert losses[0].equal(losses[1])
    smoothed = torch.autograd.grad(expected, list(plain.parameters()))
    unsmoothed = torch.autograd.grad(losses[1], list(plain.parameters()))
    for ours, theirs in zip(torch.autograd.grad(losses[0], list(network.parameters())), smoothed, strict=True):
        torch.testing.assert_close(ours, theirs)
    evaluated = torch.autograd.grad(network.eval().loss(ids_TB, ids_TB, state)[0], list(network.parameters()))
    for ours, theirs in zip(evaluated, unsmoothed, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.allclose(smoothed[-1], unsmoothed[-1])


@pytest.mark.parametrize("residual", [False, True])
def test_layers_read_the_output_of_the_layer_below(make_network: Make, residual: bool) -> None:
    """test_elman.py and test_gated.py compare the cells themselves with those of torch."""
    network, ids_TB = make_network(layers=3, residual=residual), torch.randint(V, (T, B))
    logits, last = network.unroll(ids_TB, network.initial_state(B))
    below: torch.Tensor = ids_TB
    for layer, cell in enumerate(network.cells):
        above, state = cell.unroll(below, torch.zeros(B, network.settings["hidden"]))
        torch.testing.assert_close(last[layer], state)
        below = below + above if residual and layer else above
    torch.testing.assert_close(logits, below @ network.hidden_to_output.T + network.output_bias)


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_acts_on_outputs_and_only_in_training(make_network: Make, layers: int) -> None:
    ids_TB, network = torch.randint(V, (T, B)), make_network(layers=layers, dropout=0.5)
    (first, state), (second, same) = (network.unroll(ids_TB, network.initial_state(B)) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(state[0], same[0])  # no dropout on the state
    network.eval()
    assert torch.equal(*(network.unroll(ids_TB, network.initial_state(B))[0] for _ in range(2)))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_tiny_text_is_overfitted(make_network: Make, activation: str) -> None:
    text = torch.tensor([0, 1, 2, 0, 1, 3, 3, 4, 0, 5, 6, 1, 1, 2, 5, 0, 3, 6, 6, 2, 4, 1, 0, 0, 5])[:, None]
    network = make_network(hidden=32, trained=False, activation=activation)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    loss = torch.tensor(math.inf)
    for _ in range(200):
        logits, _ = network.unroll(text[:-1], network.initial_state(1))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), text[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_parameters_are_counted(make_network: Make) -> None:
    assert make_network(layers=2).parameter_count() == (5 * 7 + 5 * 5 + 5) + (5 * 5 + 5 * 5 + 5) + (7 * 5 + 7)


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no MPS device on this machine")
def test_cpu_and_mps_agree(make_network: Make) -> None:
    network = make_network(layers=2, hidden=32)
    ids_TB = torch.randint(V, (T, B))
    results = []
    for device in ("cpu", "mps"):
        network.zero_grad()
        network.to(device)
        logits, _ = network.unroll(ids_TB.to(device), network.initial_state(B))
        logits.logsumexp(-1).sum().backward()
        results.append([logits.cpu(), *(p.grad.cpu() for p in network.parameters() if p.grad is not None)])
    for cpu, mps in zip(*results, strict=True):
        torch.testing.assert_close(cpu, mps, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_suffices_to_load_a_network(make_network: Make, tmp_path: Path) -> None:
    network = make_network(layers=2)
    loaded, vocabulary, *_ = load_network(save_network(network, VOCABULARY, tmp_path / "x.ckpt"))
    ids_TB = torch.randint(V, (T, B))
    assert torch.equal(*(rnn.unroll(ids_TB, rnn.initial_state(B))[0] for rnn in (loaded, network)))
    assert vocabulary == VOCABULARY
    assert not loaded.training


def test_an_inconsistent_checkpoint_is_refused(make_network: Make, tmp_path: Path) -> None:
    settings = make_network().settings
    networks = (None, [1], {"cell": "elman"}, *({**settings, key: 6} for key in ("hidden", "extra", "cell")))
    vocabularies = (7, "ab", Vocabulary("ab").settings, {})
    for change in (*({"network": value} for value in networks), *({"vocabulary": value} for value in vocabularies)):
        path = save_network(make_network(), VOCABULARY, tmp_path / "x.ckpt")
        checkpoint = checkpoint_file.read(path)
        checkpoint["charrnn"] |= change
        checkpoint_file.write(checkpoint, path)
        with pytest.raises(RequestError, match="does not fit together"):
            load_network(path)


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": 33, "kernel": "numba"},
        {"hidden": 70, "kernel": "numba", "layers": 3, "residual": True, "activation": "relu", "recurrent_gain": 0.3},
        {"hidden": 20, "kernel": "fused"},
        {"cell": "gru", "layers": 2},
    ],
    ids=str,
)
def test_the_loss_is_the_cross_entropy_of_the_logits(make_network: Make, settings: dict[str, Any]) -> None:
    network = make_network(**settings)
    ids_TB = torch.randint(7, (13, 9), generator=torch.Generator().manual_seed(0))
    state_LBS = network.initial_state(9)
    loss, last_LBS = network.loss(ids_TB[:-1], ids_TB[1:], state_LBS)
    loss.backward()
    gradients = [parameter.grad for parameter in network.parameters()]

    exact = make_network(**{**settings, **({} if "cell" in settings else {"kernel": "reference"})}).double()
    exact.load_state_dict(network.state_dict())
    logits_TBV, expected_LBS = exact.unroll(ids_TB[:-1], state_LBS.double())
    expected = nn.functional.cross_entropy(logits_TBV.flatten(0, 1), ids_TB[1:].flatten())
    expected.backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(last_LBS.double(), expected_LBS, rtol=1e-5, atol=1e-6)
    for gradient, parameter in zip(gradients, exact.parameters(), strict=True):
        assert gradient is not None and parameter.grad is not None
        assert (gradient - parameter.grad).abs().max() <= 1e-5 * parameter.grad.abs().max()


def test_gradcheck_of_a_whole_step(make_network: Make) -> None:
    network = make_network(layers=2, hidden=3).double()
    ids_TB = torch.randint(7, (5, 2), generator=torch.Generator().manual_seed(0))
    parameters = tuple(network.parameters())
    names = [f"network.{name}" for name, _ in network.named_parameters()]

    def loss(*values: torch.Tensor) -> torch.Tensor:
        inputs = (ids_TB[:-1], ids_TB[1:], network.initial_state(2))
        named = dict(zip(names, values, strict=True))
        return torch.func.functional_call(_Loss(network), named, inputs)  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(loss, parameters)


class _Loss(nn.Module):
    def __init__(self, network: CharRNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.network.loss(*inputs)[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_start_gives_the_same_losses_twice(make_network: Make, threads: int) -> None:
    def losses() -> list[float]:
        torch.manual_seed(3)
        network = make_network(hidden=40, kernel="numba", layers=2)
        ids_TB = torch.randint(7, (40, 16))
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, fused=True)
        found = []
        for _ in range(8):
            optimizer.zero_grad()
            loss, _ = network.loss(ids_TB[:-1], ids_TB[1:], network.initial_state(16))
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    torch.set_num_threads(threads)
    first = losses()
    assert losses() == first and first[-1] < first[0]
    torch.set_num_threads(1)
