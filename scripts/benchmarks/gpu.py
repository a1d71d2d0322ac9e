"""Everything to measure on a GPU, in one call: equality, kernels, whole runs, waiting for Python, checkpoints.

The sections run in this order, each within what is left of the time. What a section found is written as soon as it
ends, so that nothing is lost if the time is over.
"""

import argparse
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch

from benchmarks import lightning_runs
from benchmarks.candidates import AS_TRAINED, BASELINE, Candidate, candidates, check_equality, graphed
from benchmarks.gpu_checks import DTYPES, checkpoints, device_tests, equality, set_precision
from benchmarks.record import interleaved, print_records, summary, write_record
from charrnn.network.recurrence import KERNELS, usable_kernels
from charrnn.utils.errors import RunFailed

GRID = [(64, 128, 128), (64, 128, 256), (64, 128, 512), (64, 128, 1024), (256, 128, 512)]
RUNS = [(32, 64, 512), (64, 128, 512), (64, 128, 1024)]
TOY_GRID = [(2, 3, 8)]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the sections, print their tables and return the results."""
    device = "cpu" if arguments.toy and not torch.cuda.is_available() else "cuda"
    end = time.monotonic() + 60 * arguments.minutes
    sections: dict[str, Callable[[argparse.Namespace, str], Any]] = {
        "equality": equality, "recurrence": recurrence, "checkpoints": checkpoints, "runs": whole_runs,
        "waiting": waiting, "tests": device_tests,
    }  # fmt: skip
    results: dict[str, Any] = {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu"}
    for name in [name for name in sections if name in (arguments.only or sections)]:
        section = sections[name]
        left = end - time.monotonic()
        if left <= 0:
            results[name] = "no time left"
            continue
        print(f"\n{name}, {left:.0f} s left", flush=True)
        arguments.seconds_left = left
        try:
            results[name] = section(arguments, device)
        except Exception:  # a section that fails must not cost the others their minutes
            results[name] = traceback.format_exc()
            print(results[name], flush=True)
        if arguments.json:
            write_record(arguments.json, results)
    failed = [name for name, result in results.items() if _failed(result)]
    if failed:
        raise RunFailed(f"failed: {', '.join(failed)}; what they printed is above")
    return results


def _failed(result: Any) -> bool:
    """Return whether a section raised an error, or found that something is not as it should be."""
    if isinstance(result, str):
        return result.startswith("Traceback")
    rows = [result] if isinstance(result, dict) else result
    return any(value is False for row in rows for value in row.values())


def recurrence(arguments: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    """Time forward and backward of the kernels and of `nn.RNN`, each alone and under a CUDA graph."""
    rows = []
    for size in TOY_GRID if arguments.toy else GRID:
        for precision in ("float32", "tf32", "bfloat16"):
            context = set_precision(precision, device)
            found = candidates(size, device)
            del found["one-hot loop"]
            if precision == "float32":
                check_equality(found)
            del found["reference"]
            for name in [name for name in found if _unusable(name, precision, device)]:
                del found[name]
            calls: dict[str, Callable[[], object]] = {
                name: _within(context, candidate) for name, candidate in found.items()
            }
            if device == "cuda":
                with context:
                    calls |= {
                        f"{name}, graph": graphed(candidate) for name, candidate in found.items() if name != AS_TRAINED
                    }
            seconds = interleaved(calls, arguments.rounds, device)
            theirs = {
                end: summary(seconds[BASELINE + end])["median_ms"]
                for end in ("", ", graph")
                if BASELINE + end in seconds
            }
            for name, values in seconds.items():
                milliseconds = summary(values)["median_ms"]
                rows.append(
                    {
                        "B, T, H": "{}, {}, {}".format(*size), "precision": precision, "by": name, "ms": milliseconds,
                        **{f"x {BASELINE}{end}": other / milliseconds for end, other in theirs.items()},
                    }
                )  # fmt: skip
    print_records("Forward + backward", rows)
    return rows


def _unusable(kernel: str, precision: str, device: str) -> bool:
    dtype = DTYPES.get(precision, torch.float32)
    return kernel in KERNELS and usable_kernels(torch.device(device), dtype)[kernel] is not None


def _within(context: torch.autocast, candidate: Candidate) -> Callable[[], None]:
    def backward() -> None:
        for parameter in candidate.parameters:
            parameter.grad = None
        with context:
            loss = candidate.loss()
        loss.backward()

    return backward


def whole_runs(arguments: argparse.Namespace, device: str) -> Any:
    """Compare train.py with a bare loop and with `nn.RNN` in Lightning on the device."""
    arguments.accelerator = "gpu" if device == "cuda" else "cpu"
    arguments.grid = RUNS
    return lightning_runs.measure(arguments)["measurements"]


def waiting(arguments: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    """Return how much of a training step the GPU computes; the rest of the time it waits for Python."""
    rows = []
    kinds = [torch.profiler.ProfilerActivity.CPU] + [torch.profiler.ProfilerActivity.CUDA] * (device == "cuda")
    for size in TOY_GRID if arguments.toy else RUNS:
        found = candidates(size, device)
        for name in (AS_TRAINED if device == "cuda" else "fused", BASELINE):
            candidate = found[name]
            candidate.backward()
            with torch.profiler.profile(activities=kinds) as profiler:
                start = time.perf_counter()
                for _ in range(10):
                    candidate.backward()
                if device == "cuda":
                    torch.cuda.synchronize()
                wall = time.perf_counter() - start
            kernels = (each for each in profiler.events() or [] if each.device_type.name == "CUDA")
            busy = sum(kernel.self_device_time_total for kernel in kernels) / 1e6
            rows.append(
                {
                    "B, T, H": "{}, {}, {}".format(*size), "by": name,
                    "ms": 1e2 * wall, "share that the device computes": busy / wall,
                }
            )  # fmt: skip
    print_records("Time of a step and the share of it that the device computes", rows)
    return rows
