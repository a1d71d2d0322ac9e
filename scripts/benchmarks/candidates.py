"""Compute the same loss from the same weights in several ways: our kernels and common alternatives.

B lane, T time step, V vocabulary, H hidden unit. The loss is the cross-entropy of the next character.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from charrnn.network import CharRNN
from charrnn.network.cuda_graph import GraphedLoss
from charrnn.network.elman import ElmanCell
from charrnn.network.recurrence import KERNELS, usable_kernels

V = 65
BASELINE = "nn.RNN"
AS_TRAINED = "auto"  # as train.py computes it on a GPU: the kernel auto in a CUDA graph


@dataclass
class Candidate:
    """A way to compute the loss, with its parameters in the order of `parameters_of`."""

    loss: Callable[[], Tensor]
    parameters: list[Tensor]

    def backward(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        self.loss().backward()


def candidates(size: tuple[int, int, int], device: str) -> dict[str, Candidate]:
    """Return all candidates available on this device, with equal weights."""
    lanes, steps, hidden = size
    ids_TB = torch.randint(V, (steps + 1, lanes), device=device)
    x_TB, targets = ids_TB[:-1], ids_TB[1:].flatten()
    found = {}
    for kernel in KERNELS:
        if usable_kernels(torch.device(device), torch.float32)[kernel] is None:
            found[kernel] = ours(network_of(hidden, kernel, device), x_TB, targets)
    if device == "cuda":
        found[AS_TRAINED] = ours(network_of(hidden, "auto", device), x_TB, targets, graphed=True)
    found["one-hot loop"] = _one_hot_loop(network_of(hidden, "reference", device), x_TB, targets)
    found[BASELINE] = _torch_rnn(network_of(hidden, "reference", device), x_TB, targets)
    return found


def network_of(hidden: int, kernel: str, device: str, layers: int = 1) -> CharRNN:
    torch.manual_seed(0)
    network = CharRNN(
        V, cell="elman", hidden=hidden, layers=layers, dropout=0.0, residual=False, activation="tanh", kernel=kernel,
        recurrent_init="orthogonal", recurrent_gain=0.95, input_std=0.5,
    )  # fmt: skip
    nn.init.normal_(network.hidden_to_output, std=0.1)
    return network.to(device)


def parameters_of(network: CharRNN) -> list[Tensor]:
    """Return W_xh, W_hh, b_h, W_hy, b_y."""
    (cell,) = network.cells
    assert isinstance(cell, ElmanCell)
    return [
        cell.input_to_hidden,
        cell.hidden_to_hidden,
        cell.hidden_bias,
        network.hidden_to_output,
        network.output_bias,
    ]


def ours(network: CharRNN, x_TB: Tensor, targets: Tensor, *, graphed: bool = False) -> Candidate:
    compute_loss = GraphedLoss(network) if graphed else network.loss

    def loss() -> Tensor:
        return compute_loss(x_TB, targets, network.initial_state(x_TB.shape[1]))[0]

    return Candidate(loss, parameters_of(network) if len(network.cells) == 1 else list(network.parameters()))


def _one_hot_loop(network: CharRNN, x_TB: Tensor, targets: Tensor) -> Candidate:
    """The simplest program: one-hot vectors, a loop over time steps, autograd."""
    w_xh, w_hh, b_h, w_hy, b_y = parameters_of(network)
    x_TBV = nn.functional.one_hot(x_TB, V).float()

    def loss() -> Tensor:
        state = w_xh.new_zeros(x_TB.shape[1], w_hh.shape[0])
        logits = []
        for x_BV in x_TBV:
            state = torch.tanh(x_BV @ w_xh.T + state @ w_hh.T + b_h)
            logits.append(state @ w_hy.T + b_y)
        return nn.functional.cross_entropy(torch.cat(logits), targets)

    return Candidate(loss, [w_xh, w_hh, b_h, w_hy, b_y])


def _torch_rnn(network: CharRNN, x_TB: Tensor, targets: Tensor) -> Candidate:
    w_xh, w_hh, b_h, w_hy, b_y = parameters_of(network)
    rnn = nn.RNN(V, w_hh.shape[0]).to(x_TB.device)
    w_ih, w_hh_theirs, b_ih, b_hh = list(rnn.parameters())
    with torch.no_grad():
        w_ih.copy_(w_xh)
        w_hh_theirs.copy_(w_hh)
        b_ih.copy_(b_h)
        b_hh.zero_()
    x_TBV = nn.functional.one_hot(x_TB, V).float()

    def loss() -> Tensor:
        states_TBH, _ = rnn(x_TBV)
        return nn.functional.cross_entropy(nn.functional.linear(states_TBH, w_hy, b_y).flatten(0, 1), targets)

    return Candidate(loss, [w_ih, w_hh_theirs, b_ih, w_hy, b_y])


def check_equality(found: dict[str, Candidate]) -> None:
    """Raise `AssertionError` unless all candidates have the loss and gradients of the reference kernel."""
    reference = found["reference"]
    reference.backward()
    for name, candidate in found.items():
        candidate.backward()
        torch.testing.assert_close(candidate.loss(), reference.loss(), rtol=1e-5, atol=0, msg=f"{name}: loss")
        for ours, theirs in zip(candidate.parameters, reference.parameters, strict=True):
            assert ours.grad is not None
            assert theirs.grad is not None
            error = (ours.grad - theirs.grad).abs().max() / theirs.grad.abs().max()
            assert error < 1e-4, f"{name}: gradient differs by {error:.1e} of its largest value"


def training_step(candidate: Candidate) -> Callable[[], None]:
    """Return a function that makes a training step: loss, back-propagation, clipping and Adam."""
    fused = candidate.parameters[0].device.type in ("cpu", "cuda")
    optimizer = torch.optim.Adam(candidate.parameters, lr=1e-6, fused=fused)

    def step() -> None:
        candidate.backward()
        nn.utils.clip_grad_norm_(candidate.parameters, 1.0)
        optimizer.step()

    return step


def without_gradients(candidate: Candidate) -> Callable[[], None]:
    """Return a function that computes only the loss."""

    def forward() -> None:
        with torch.inference_mode():
            candidate.loss()

    return forward


def graphed(candidate: Candidate) -> Callable[[], None]:
    """Return the replay of a CUDA graph of forward and backward, which avoids the cost of launching each kernel."""
    warmup_stream = torch.cuda.Stream()
    warmup_stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(warmup_stream):  # the graph must not record work that only first calls do
        for _ in range(3):
            candidate.backward()
    torch.cuda.current_stream().wait_stream(warmup_stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        candidate.backward()
    return graph.replay


def jax_calls(size: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    """Return jitted `lax.scan` versions of the loss without and with gradients; empty without JAX (extra `bench`)."""
    try:
        import jax
    except ImportError:
        return {}
    lanes, steps, hidden = size
    weights = [jax.numpy.asarray(x.detach().numpy()) for x in parameters_of(network_of(hidden, "reference", "cpu"))]
    ids = jax.random.randint(jax.random.key(0), (steps + 1, lanes), 0, V)

    def loss(weights: list[Any], ids: Any) -> Any:
        w_xh, w_hh, b_h, w_hy, b_y = weights
        inputs = w_xh.T[ids[:-1]] + b_h

        def step(state: Any, x: Any) -> tuple[Any, Any]:
            state = jax.numpy.tanh(x + state @ w_hh.T)
            return state, state

        _, states = jax.lax.scan(step, jax.numpy.zeros((lanes, hidden)), inputs)
        scores = jax.nn.log_softmax(states @ w_hy.T + b_y)
        return -jax.numpy.take_along_axis(scores, ids[1:, :, None], -1).mean()

    forward, backward = jax.jit(loss), jax.jit(jax.value_and_grad(loss))
    return {
        "forward": lambda: jax.block_until_ready(forward(weights, ids)),
        "forward + backward": lambda: jax.block_until_ready(backward(weights, ids)),
    }
