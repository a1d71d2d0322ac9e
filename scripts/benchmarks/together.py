"""Compare a training step of several CPU processes with that of one process with all threads.

B lane (of all processes), T time step, H hidden unit, V vocabulary.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from torch import distributed, nn
from torch.multiprocessing import SimpleQueue, get_context
from torch.multiprocessing.spawn import spawn

from benchmarks.candidates import V, network_of
from benchmarks.record import print_table
from charrnn.training.distributed.strategy import average_gradients
from charrnn.utils.validation import require_integer

GRID = [(32, 32, 128), (32, 32, 256), (64, 64, 256), (64, 64, 512), (64, 64, 1024)]
TOY_GRID = [(4, 8, 8)]
WAYS = ("one process", "several", "several, without a message", "message")
Size = tuple[int, int, int]


def step_of(lanes: int, size: Size, kernel: str) -> tuple[nn.Module, Callable[[bool], None]]:
    """Return a network and its training step: lookup, recurrence, loss, backward pass, gradient exchange, AdamW."""
    _, steps, hidden = size
    network = network_of(hidden, kernel, "cpu")
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    ids_TB = torch.randint(V, (steps + 1, lanes))

    def step(together: bool) -> None:
        logits_TBV, _ = network.unroll(ids_TB[:-1], network.initial_state(lanes))
        loss = nn.functional.cross_entropy(logits_TBV.flatten(0, 1), ids_TB[1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        if together:
            average_gradients(network)
        optimizer.step()

    return network, step


def time_rounds(rank: int, sizes: list[Size], arguments: argparse.Namespace, port: int, results: SimpleQueue) -> None:
    """Time each way in turn. Every rank must call it; rank 0 puts the seconds into `results`."""
    processes = arguments.processes
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=processes)
    seconds: dict[Size, dict[str, list[float]]] = {size: {way: [] for way in WAYS} for size in sizes}
    for size in sizes:
        _, alone = step_of(size[0], size, arguments.kernel)
        network, shared = step_of(size[0] // processes, size, arguments.kernel)
        calls: dict[str, tuple[int, Callable[[], None]]] = {
            "one process": (arguments.threads, lambda alone=alone: alone(False)),  # type: ignore[misc]
            "several": (1, lambda shared=shared: shared(True)),  # type: ignore[misc]
            "several, without a message": (1, lambda shared=shared: shared(False)),  # type: ignore[misc]
            "message": (1, lambda network=network: average_gradients(network)),  # type: ignore[misc]
        }
        for way, (threads, call) in list(calls.items()) * (1 + arguments.rounds):
            torch.set_num_threads(threads)
            distributed.barrier()
            if way == "one process" and rank > 0:
                continue
            start = time.perf_counter()
            for _ in range(arguments.steps):
                call()
            seconds[size][way].append((time.perf_counter() - start) / arguments.steps)
    if rank == 0:
        results.put(seconds)
    distributed.destroy_process_group()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark, print its table and return the results."""
    require_integer("--processes", arguments.processes)
    sizes = TOY_GRID if arguments.toy else GRID
    arguments.kernel = "fused"
    arguments.steps = 2 if arguments.toy else 20
    results = get_context("spawn").SimpleQueue()
    spawn(time_rounds, (sizes, arguments, find_free_network_port(), results), nprocs=arguments.processes)
    seconds = results.get()
    records, rows = [], []
    for size, ways in seconds.items():
        network = network_of(size[2], arguments.kernel, "cpu")
        medians = {way: statistics.median(times[1:]) for way, times in ways.items()}  # the first rounds allocate memory
        gain = statistics.median(one / all_ for one, all_ in zip(ways[WAYS[0]][1:], ways[WAYS[1]][1:], strict=True))
        records.append({"size": size, "parameters": network.parameter_count(), "gain": gain, "seconds": medians})
        times = [f"{1e3 * medians[way]:.2f} ms" for way in WAYS]
        rows.append([", ".join(map(str, size)), f"{network.parameter_count():,}", *times, f"{gain:.2f} x"])
    title = f"{arguments.processes} processes with 1 thread compared with 1 process with {arguments.threads} threads"
    print_table(title, ["B, T, H", "parameters", *WAYS, "gain"], rows)
    return {"processes": arguments.processes, "measurements": records}
