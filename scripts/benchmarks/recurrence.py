"""The recurrence alone and in a whole training step: our kernels against what a user would take instead.

B batch lane, T time step, V vocabulary, H hidden unit. Every candidate starts from the same weights and computes the
same loss: cross-entropy of the next character.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.record import interleaved, print_table, summary
from charrnn.cells import ElmanCell
from charrnn.errors import RequestError
from charrnn.network import CharRNN
from charrnn.recurrence import KERNELS, elman_scan, usable_kernels

V = 65
GRID = [(16, 32, 256), (64, 64, 128), (64, 64, 256), (64, 64, 512)]
TOY_GRID = [(2, 3, 8)]
BASELINE = "nn.RNN"


@dataclass
class Candidate:
    """One way to compute the loss, and the parameters that it differentiates, in the order of `parameters_of`."""

    loss: Callable[[], Tensor]
    parameters: list[Tensor]

    def backward(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        self.loss().backward()


def candidates(size: tuple[int, int, int], device: str) -> dict[str, Candidate]:
    """Every candidate that can run here, with equal weights."""
    lanes, steps, hidden = size
    ids_TB = torch.randint(V, (steps + 1, lanes), device=device)
    x_TB, targets = ids_TB[:-1], ids_TB[1:].flatten()
    found = {}
    for kernel in KERNELS:
        if usable_kernels(torch.device(device), torch.float32, hidden)[kernel] is None:
            found[kernel] = _ours(_network(hidden, kernel, device), x_TB, targets)
    found["one-hot loop"] = _one_hot_loop(_network(hidden, "reference", device), x_TB, targets)
    found[BASELINE] = _torch_rnn(_network(hidden, "reference", device), x_TB, targets)
    return found


def _network(hidden: int, kernel: str, device: str, layers: int = 1) -> CharRNN:
    torch.manual_seed(0)
    network = CharRNN(
        V, cell="elman", hidden=hidden, layers=layers, dropout=0.0, activation="tanh", kernel=kernel,
        recurrent_init="orthogonal", recurrent_gain=0.95, input_std=0.5,
    )  # fmt: skip
    nn.init.normal_(network.hidden_to_output, std=0.1)
    return network.to(device)


def parameters_of(network: CharRNN) -> list[Tensor]:
    """W_xh, W_hh, b_h, W_hy, b_y."""
    (cell,) = network.cells
    assert isinstance(cell, ElmanCell)
    return [
        cell.input_to_hidden,
        cell.hidden_to_hidden,
        cell.hidden_bias,
        network.hidden_to_output,
        network.output_bias,
    ]


def _ours(network: CharRNN, x_TB: Tensor, targets: Tensor) -> Candidate:
    def loss() -> Tensor:
        logits, _ = network.unroll(x_TB, network.initial_state(x_TB.shape[1]))
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets)

    return Candidate(loss, parameters_of(network) if len(network.cells) == 1 else list(network.parameters()))


def _one_hot_loop(network: CharRNN, x_TB: Tensor, targets: Tensor) -> Candidate:
    """What one writes first: one-hot vectors, one step after the other, autograd."""
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
    """Loss and gradients of every candidate against the reference kernel's; a faster wrong result is none."""
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
    """Loss, back-propagation, clipping and Adam."""
    fused = candidate.parameters[0].device.type in ("cpu", "cuda")
    optimizer = torch.optim.Adam(candidate.parameters, lr=1e-6, fused=fused)

    def step() -> None:
        candidate.backward()
        nn.utils.clip_grad_norm_(candidate.parameters, 1.0)
        optimizer.step()

    return step


def without_gradients(candidate: Candidate) -> Callable[[], None]:
    """The loss alone."""

    def forward() -> None:
        with torch.inference_mode():
            candidate.loss()

    return forward


def jax_calls(size: tuple[int, int, int]) -> dict[str, Callable[[], object]]:
    """`lax.scan` under `jit`: the loss, and the loss with its gradients. Empty without JAX (extra `bench`)."""
    try:
        import jax
    except ImportError:
        return {}
    lanes, steps, hidden = size
    weights = [jax.numpy.asarray(x.detach().numpy()) for x in parameters_of(_network(hidden, "reference", "cpu"))]
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


def matmul_peak(device: str, rounds: int) -> float:
    """Floating-point operations per second of a large square matmul."""
    n = 1024 if device == "cpu" else 4096
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    seconds = interleaved({"matmul": lambda: a @ b}, rounds, device)["matmul"]
    return 2 * n**3 / (summary(seconds)["median_ms"] / 1e3)


def operations(size: tuple[int, int, int]) -> int:
    """Multiplications and additions in the matmuls of forward and backward: three for every weight used."""
    lanes, steps, hidden = size
    return 6 * lanes * steps * (hidden * hidden + hidden * V)


def _scan_alone(kernel: str, size: tuple[int, int, int], device: str) -> Callable[[], None]:
    """The recurrence forward and backward, for given inputs and a given gradient of the states."""
    lanes, steps, hidden = size
    inputs_TBH = torch.randn(steps, lanes, hidden, device=device, requires_grad=True)
    gradient_TBH = torch.randn(steps, lanes, hidden, device=device)
    state_BH = torch.zeros(lanes, hidden, device=device)
    weight_HH = nn.init.orthogonal_(torch.empty(hidden, hidden, device=device)).requires_grad_()

    def scan() -> None:
        inputs_TBH.grad = weight_HH.grad = None
        elman_scan(inputs_TBH, state_BH, weight_HH, "tanh", kernel).backward(gradient_TBH)

    scan()
    return scan


def peak_memory(call: Callable[[], object], device: str) -> int:
    """Bytes that torch holds at most during `call`, beyond what it held before."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return int(torch.cuda.max_memory_allocated() - before)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    held = [
        (event["ts"], event["args"]["Total Allocated"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["args"].get("Device Type") == 0
    ]
    held.sort(key=lambda event: event[0])
    before = held[0][1] - held[0][2]
    return int(max(total for _, total, _ in held) - before)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the whole benchmark, print its tables and return the numbers."""
    grid = _grid(arguments)
    device = arguments.device
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    peak = matmul_peak(device, arguments.rounds)
    print(f"matmul peak {peak / 1e9:.0f} GFLOP/s, {torch.get_num_threads()} threads, device {device}, float32, V = {V}")
    records = []
    for size in grid:
        found = candidates(size, device)
        check_equality(found)
        memory = {name: peak_memory(_scan_alone(name, size, device), device) for name in KERNELS if name in found}
        jax_found = jax_calls(size) if device == "cpu" else {}
        modes: dict[str, dict[str, Callable[[], object]]] = {
            "forward": {name: without_gradients(candidate) for name, candidate in found.items()},
            "forward + backward": {name: candidate.backward for name, candidate in found.items()},
            "training step": {name: training_step(candidate) for name, candidate in found.items()},
        }
        for mode, calls in modes.items():
            if mode in jax_found:
                calls["JAX scan"] = jax_found[mode]
            seconds = interleaved(calls, arguments.rounds, device)
            baseline = summary(seconds[BASELINE])["median_ms"]
            for name, values in seconds.items():
                figures = summary(values)
                record = {
                    "B": size[0], "T": size[1], "H": size[2], "mode": mode, "candidate": name, **figures,
                    "faster_than_nn.RNN": baseline / figures["median_ms"],
                    "share_of_matmul_peak": None, "peak_memory_mb": None,
                }  # fmt: skip
                if mode == "forward + backward":
                    record["share_of_matmul_peak"] = operations(size) / (figures["median_ms"] / 1e3) / peak
                    record["peak_memory_mb"] = memory[name] / 1e6 if name in memory else None
                records.append(record)
        _print_size(size, [record for record in records if (record["B"], record["T"], record["H"]) == size])
    growth = cost_growth(arguments, device)
    return {"matmul_peak_gflops": peak / 1e9, "measurements": records, "growth": growth}


def cost_growth(arguments: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    """How the time of forward + backward grows when T, B, H or the number of layers is doubled."""
    lanes, steps, hidden = (2, 3, 8) if arguments.toy else (32, 32, 256)
    shapes = {
        "base": (lanes, steps, hidden, 1), "2 T": (lanes, 2 * steps, hidden, 1), "2 B": (2 * lanes, steps, hidden, 1),
        "2 H": (lanes, steps, 2 * hidden, 1), "2 layers": (lanes, steps, hidden, 2),
    }  # fmt: skip
    calls: dict[str, Callable[[], object]] = {}
    for name, (b, t, h, layers) in shapes.items():
        ids_TB = torch.randint(V, (t + 1, b), device=device)
        calls[name] = _ours(_network(h, "auto", device, layers), ids_TB[:-1], ids_TB[1:].flatten()).backward
    seconds = interleaved(calls, arguments.rounds, device)
    base = summary(seconds["base"])["median_ms"]
    rows = [
        {"doubled": name, **summary(values), "ratio": summary(values)["median_ms"] / base}
        for name, values in seconds.items()
    ]
    print_table(
        f"How the cost grows from B {lanes}, T {steps}, H {hidden}, 1 layer (kernel auto, forward + backward)",
        ["doubled", "ms", "ratio"],
        [[row["doubled"], row["median_ms"], row["ratio"]] for row in rows],
    )
    return rows


def _grid(arguments: argparse.Namespace) -> list[tuple[int, int, int]]:
    if not arguments.grid:
        return TOY_GRID if arguments.toy else GRID
    try:
        sizes = [tuple(int(number) for number in size.split(",")) for size in arguments.grid]
        return [(b, t, h) for b, t, h in sizes]
    except ValueError:
        raise RequestError(f"--grid takes sizes like 64,64,256, got {' '.join(arguments.grid)}") from None


def _print_size(size: tuple[int, int, int], records: list[dict[str, Any]]) -> None:
    rows: list[list[object]] = []
    for record in records:
        share, memory = record["share_of_matmul_peak"], record["peak_memory_mb"]
        rows.append(
            [
                record["mode"], record["candidate"], record["median_ms"], record["spread_ms"],
                record["faster_than_nn.RNN"], "" if share is None else f"{share:.0%}",
                "" if memory is None else f"{memory:.1f}",
            ]
        )  # fmt: skip
    columns = ["what", "by", "ms", "+-", f"x {BASELINE}", "of matmul peak", "peak MB of the scan alone"]
    print_table("B {}, T {}, H {}".format(*size), columns, rows)
