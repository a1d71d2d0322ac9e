"""Compare our kernels with common alternatives, for the recurrence alone and for a whole training step.

B lane, T time step, V vocabulary, H hidden unit. All candidates have the same weights and compute the same loss, the
cross-entropy of the next character.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.candidates import (
    BASELINE,
    V,
    candidates,
    check_equality,
    graphed,
    jax_calls,
    network_of,
    ours,
    training_step,
    without_gradients,
)
from benchmarks.record import interleaved, print_table, processor, summary
from charrnn.network.compiled.register_tile import vector_width
from charrnn.network.recurrence import KERNELS, elman_scan
from charrnn.utils.errors import RequestError

GRID = [(16, 32, 256), (64, 64, 128), (64, 64, 256), (64, 64, 512)]
TOY_GRID = [(2, 3, 8)]


def matmul_peak(device: str, rounds: int) -> float:
    """Measure the floating-point operations per second of a large square matmul."""
    n = 1024 if device == "cpu" else 4096
    a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    seconds = interleaved({"matmul": lambda: a @ b}, rounds, device)["matmul"]
    return 2 * n**3 / (summary(seconds)["median_ms"] / 1e3)


def operations(size: tuple[int, int, int]) -> int:
    """Count the operations in the matmuls of forward and backward: 6 per weight, lane and time step."""
    lanes, steps, hidden = size
    return 6 * lanes * steps * (hidden * hidden + hidden * V)


def _scan_alone(kernel: str, size: tuple[int, int, int], device: str) -> Callable[[], None]:
    """Return a function that runs only the recurrence, forward and backward, on fixed inputs and state gradients."""
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
    """Return the peak number of bytes that torch allocates during `call`, in addition to those before it."""
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
    allocations = [
        (event["ts"], event["args"]["Total Allocated"], event["args"]["Bytes"])
        for event in events
        if event.get("name") == "[memory]" and event["args"].get("Device Type") == 0
    ]
    allocations.sort(key=lambda event: event[0])
    before = allocations[0][1] - allocations[0][2]
    return int(max(total for _, total, _ in allocations) - before)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark, print its tables and return the results."""
    grid = _grid(arguments)
    device = arguments.device
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    peak = matmul_peak(device, arguments.rounds)
    blas = "MKL" if torch.backends.mkl.is_available() else "other"
    print(f"{processor()}, vectors of {vector_width()} float32 numbers, BLAS of torch: {blas}")
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
        if device == "cuda":
            recorded = {
                f"{name}, CUDA graph": graphed(found[name]) for name in ("fused", "triton", BASELINE) if name in found
            }
            modes["forward + backward"].update(recorded)
        for mode, calls in modes.items():
            if mode in jax_found:
                calls["JAX scan"] = jax_found[mode]
            seconds = interleaved(calls, arguments.rounds, device)
            baseline = summary(seconds[BASELINE])["median_ms"]
            for name, values in seconds.items():
                times = summary(values)
                record = {
                    "B": size[0], "T": size[1], "H": size[2], "mode": mode, "candidate": name, **times,
                    "faster_than_nn.RNN": baseline / times["median_ms"],
                    "share_of_matmul_peak": None, "peak_memory_mb": None,
                }  # fmt: skip
                if mode == "forward + backward":
                    record["share_of_matmul_peak"] = operations(size) / (times["median_ms"] / 1e3) / peak
                    record["peak_memory_mb"] = memory[name] / 1e6 if name in memory else None
                records.append(record)
        _print_size(size, [record for record in records if (record["B"], record["T"], record["H"]) == size])
    growth = cost_growth(arguments, device)
    return {"matmul_peak_gflops": peak / 1e9, "measurements": records, "growth": growth}


def cost_growth(arguments: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    """Measure how the time of forward + backward grows when T, B, H or the number of layers doubles."""
    lanes, steps, hidden = (2, 3, 8) if arguments.toy else (32, 32, 256)
    shapes = {
        "base": (lanes, steps, hidden, 1), "2 T": (lanes, 2 * steps, hidden, 1), "2 B": (2 * lanes, steps, hidden, 1),
        "2 H": (lanes, steps, 2 * hidden, 1), "2 layers": (lanes, steps, hidden, 2),
    }  # fmt: skip
    calls: dict[str, Callable[[], object]] = {}
    for name, (b, t, h, layers) in shapes.items():
        ids_TB = torch.randint(V, (t + 1, b), device=device)
        calls[name] = ours(network_of(h, "auto", device, layers), ids_TB[:-1], ids_TB[1:].flatten()).backward
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
