"""Test the CUDA graph of a training step; without an NVIDIA GPU, that the loss is computed without one."""

import copy

import pytest
import torch
from torch import Tensor

from charrnn.network import CharRNN
from charrnn.network.cuda_graph import GraphedLoss

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")


def example(device: str, steps: int = 7, lanes: int = 4, **settings: float) -> tuple[CharRNN, tuple[Tensor, ...]]:
    torch.manual_seed(0)
    network = CharRNN(11, hidden=24, layers=2, **settings).to(device)  # type: ignore[arg-type]  # mypy can't tell their names
    ids_TB = torch.randint(11, (steps + 1, lanes), device=device)
    return network, (ids_TB[:-1], ids_TB[1:], torch.randn(2, lanes, 24, device=device))


def loss_state_gradients(compute, network: CharRNN, batch: tuple[Tensor, ...]) -> list[Tensor]:  # type: ignore[no-untyped-def]
    network.zero_grad()
    loss, state_LBS = compute(*batch)
    loss.backward()
    return [loss.detach(), state_LBS.detach(), *(parameter.grad for parameter in network.parameters())]  # type: ignore[misc]


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def test_on_a_cpu_the_loss_is_that_of_the_network() -> None:
    network, batch = example("cpu")
    found = loss_state_gradients(GraphedLoss(network), network, batch)
    for ours, theirs in zip(found, loss_state_gradients(network.loss, network, batch), strict=True):
        assert torch.equal(ours, theirs)


@on_gpu
def test_cuda_graphs_have_the_loss_state_and_gradients_of_the_network() -> None:
    network, batch = example("cuda")
    _, longer = example("cuda", steps=9)
    graphed = GraphedLoss(network)
    for each in (batch, longer, batch):
        assert_equal(loss_state_gradients(graphed, network, each), loss_state_gradients(network.loss, network, each))
    with torch.no_grad():  # as an optimizer does
        for parameter in network.parameters():
            parameter.mul_(0.5)
    assert_equal(loss_state_gradients(graphed, network, batch), loss_state_gradients(network.loss, network, batch))
    assert len(graphed._graphs) == 2


@on_gpu
@pytest.mark.parametrize(("dtype", "graphs"), [(torch.bfloat16, 1), (torch.float16, 0)])
def test_cuda_graphs_cast_the_weights_of_each_step(dtype: torch.dtype, graphs: int) -> None:
    """In float16, gradients need a scaled loss, so there is no graph."""
    network, batch = example("cuda")
    graphed = GraphedLoss(network)
    with torch.autocast("cuda", dtype):
        loss_state_gradients(graphed, network, batch)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.5)
    with torch.autocast("cuda", dtype):  # a new context in each step, as in Lightning, for it keeps casts
        found = loss_state_gradients(graphed, network, batch)
    with torch.autocast("cuda", dtype):
        expected = loss_state_gradients(network.loss, network, batch)
    assert_equal(found, expected)
    assert len(graphed._graphs) == graphs


@on_gpu
def test_gradients_of_cuda_graphs_accumulate_and_stay() -> None:
    network, batch = example("cuda")
    _, other = example("cuda")
    other = (other[0].flip(0), other[1].flip(0), other[2])
    graphed = GraphedLoss(network)
    one, two = (loss_state_gradients(graphed, network, each)[2:] for each in (batch, other))
    network.zero_grad()
    for each in (batch, other):
        graphed(*each)[0].backward()
    both = [parameter.grad for parameter in network.parameters()]
    for sums, first, second in zip(both, one, two, strict=True):
        torch.testing.assert_close(sums, first + second)


@on_gpu
def test_a_loss_whose_cuda_graph_ran_again_has_no_gradients() -> None:
    network, batch = example("cuda")
    graphed = GraphedLoss(network)
    early, _ = graphed(*batch)
    graphed(*batch)
    with pytest.raises(RuntimeError, match="backward"):
        early.backward()


@on_gpu
@pytest.mark.parametrize("change", ["frozen", "hook", "dropout"])
def test_what_changes_after_cuda_graphs_were_recorded_counts(change: str) -> None:
    network, batch = example("cuda")
    graphed = GraphedLoss(network)
    loss_state_gradients(graphed, network, batch)
    if change == "frozen":
        network.output_bias.requires_grad_(False)
    elif change == "hook":
        network.output_bias.register_hook(lambda gradient: gradient * 0.5)
    else:
        network.dropout.p = 0.9
    torch.manual_seed(1)
    losses = [float(graphed(*batch)[0]) for _ in range(2)]
    assert (losses[0] == losses[1]) == (change != "dropout")
    if change != "dropout":
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        found = torch.autograd.grad(graphed(*batch)[0], parameters)
        assert_equal(list(found), list(torch.autograd.grad(network.loss(*batch)[0], parameters)))
    graphed.clear()
    assert not graphed._graphs


@on_gpu
def test_recording_a_cuda_graph_draws_no_random_numbers() -> None:
    network, batch = example("cuda", dropout=0.5, input_dropout=0.1, label_smoothing=0.1)
    whole, resumed = GraphedLoss(network), GraphedLoss(copy.deepcopy(network))
    torch.manual_seed(1)
    losses = [float(whole(*batch)[0]) for _ in range(4)]
    assert len(set(losses)) == 4  # each step draws its own masks
    torch.manual_seed(1)
    first = [float(whole(*batch)[0]) for _ in range(2)]
    rest = [float(resumed(*batch)[0]) for _ in range(2)]  # records its graph in the middle, as a resumed run does
    assert first + rest == losses
