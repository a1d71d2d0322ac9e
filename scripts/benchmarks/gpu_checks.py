"""What must be equal on a GPU: kernels and the reference, a killed run and a whole one, scores there and on a CPU."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.candidates import BASELINE
from benchmarks.record import print_records
from charrnn.network.recurrence import ACTIVATIONS, KERNELS, reference, usable_kernels
from charrnn.runs.checkpoint_file import network_weights, read
from charrnn.utils.paths import PROJECT

Scan = Callable[[Tensor, Tensor, Tensor, str], Tensor]

EXACT: Scan = reference.elman_scan
# T, B, H and activations; few, because Triton compiles a kernel for each hidden size, activation and precision.
ODD_SIZES = [
    (1, 3, 5, ACTIVATIONS), (19, 17, 65, ACTIVATIONS), (9, 3, 200, ("tanh",)), (6, 40, 300, ACTIVATIONS),
    (4, 130, 512, ("tanh",)), (5, 64, 1024, ("tanh",)),
]  # fmt: skip
# The largest error that is accepted, as a share of the largest value of a tensor.
TOLERANCES = {"float32": 1e-5, "tf32": 1e-2, "bfloat16": 5e-2, "float16": 1e-2}
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}  # of the other precisions: float32


def set_precision(name: str, device: str) -> torch.autocast:
    """Set whether TF32 is used, and return the context in which the precision `name` holds.

    Autocast keeps no casted weights, because a CUDA graph must record all that a step computes.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    return torch.autocast(device, dtype=DTYPES.get(name), enabled=name in DTYPES, cache_enabled=False)


def equality(arguments: argparse.Namespace, device: str) -> list[dict[str, Any]]:
    """Compare every kernel, and `nn.RNN`, with the reference in float64 on the CPU: states and all gradients."""
    rows = []
    for precision in TOLERANCES:
        dtype = DTYPES.get(precision, torch.float32)
        for *size, activations in ODD_SIZES[: 2 if arguments.toy else None]:
            usable = usable_kernels(torch.device(device), dtype)
            kernels: dict[str, Scan] = {name: KERNELS[name] for name in KERNELS if usable[name] is None}
            for activation in activations:
                set_precision(precision, device)
                # With ReLU, a state that rounds to the other side of 0 changes gradients of any kernel.
                plain = max(_largest_error(scan, size, activation, device, dtype) for scan in (_torch_scan, EXACT))
                for name, scan in (kernels | {BASELINE: _torch_scan}).items():
                    error = _largest_error(scan, size, activation, device, dtype)
                    rows.append(
                        {
                            "precision": precision, "T, B, H": "{}, {}, {}".format(*size), "activation": activation,
                            "by": name, "error": f"{error:.1e}", "ok": error <= max(TOLERANCES[precision], 2 * plain),
                        }
                    )  # fmt: skip
    print_records("Largest error of states and gradients, as a share of the largest value", rows)
    return rows


def _torch_scan(inputs_TBH: Tensor, state_BH: Tensor, weight_HH: Tensor, activation: str) -> Tensor:
    """Return the states by `nn.RNN`, with inputs that pass through an identity."""
    hidden = len(weight_HH)
    rnn = nn.RNN(hidden, hidden, nonlinearity=activation, bias=False).to(inputs_TBH)
    identity = torch.eye(hidden).to(inputs_TBH)
    weights = {"weight_ih_l0": identity, "weight_hh_l0": weight_HH}
    states: Tensor = torch.func.functional_call(rnn, weights, (inputs_TBH, state_BH[None]))[0]
    return states


def _largest_error(scan: Scan, size: Sequence[int], activation: str, device: str, dtype: torch.dtype) -> float:
    steps, lanes, hidden = size
    torch.manual_seed(0)
    weight = (torch.linalg.qr(torch.randn(hidden, hidden))[0] * 0.9).contiguous()  # which cuDNN needs
    values = [torch.randn(steps, lanes, hidden), torch.randn(lanes, hidden), weight]
    values = [value.to(dtype) for value in values]  # both sides start from the same numbers
    found = []
    for compute, where, kind in ((EXACT, "cpu", torch.float64), (scan, device, dtype)):
        given = [value.to(where, kind, copy=True).requires_grad_() for value in values]
        states = compute(given[0], given[1], given[2], activation)
        (states * torch.linspace(-1, 1, hidden).to(states)).sum().backward()
        gradients = [tensor.grad for tensor in given if tensor.grad is not None]
        found.append([tensor.detach().double().cpu() for tensor in (states, *gradients)])
    errors = [
        (theirs - ours).abs().max() / theirs.abs().max().clamp_min(1e-30) for theirs, ours in zip(*found, strict=True)
    ]
    return float(torch.stack(errors).max())  # NaN if there is one


def checkpoints(arguments: argparse.Namespace, device: str) -> dict[str, Any]:
    """Train on the device, score on the CPU; kill a run and resume it: its weights must be those of a whole run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = [
            f"trainer={'gpu' if device == 'cuda' else 'cpu'}", "trainer.deterministic=true", "threads=1",
            "model.hidden=64", "model.layers=2", "model.dropout=0.2", "checkpoint_every=10", "trainer.max_steps=400",
            "trainer.val_check_interval=200", "data.validation_fraction=0.002", "data.test_fraction=0.002",
            "callbacks=none",
        ]  # fmt: skip
        environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        train = [sys.executable, str(PROJECT / "train.py"), *settings]
        subprocess.run([*train, f"hydra.run.dir={folder}/whole"], check=True, env=environment)
        resumed = [*train, f"hydra.run.dir={folder}/killed", "resume_from=last"]
        process = subprocess.Popen(resumed, env=environment)
        last = folder / "killed" / "checkpoints" / "last.ckpt"
        while process.poll() is None and not (last.exists() and read(last)["global_step"]):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed_at = read(last)["global_step"] if last.exists() else 0
        subprocess.run(resumed, check=True, env=environment)
        whole, again = (
            network_weights(read(folder / run / "checkpoints" / "last.ckpt")) for run in ("whole", "killed")
        )
        evaluate = [sys.executable, str(PROJECT / "scripts" / "evaluate.py"), "--run", f"{folder}/whole"]
        scored = subprocess.run(
            evaluate, check=True, capture_output=True, text=True, env={**environment, "CUDA_VISIBLE_DEVICES": ""}
        )
        summary_of_run = json.loads((folder / "whole" / "summary.json").read_text())
    result = {
        "killed at step": killed_at,
        "weights equal, bit for bit": all(torch.equal(whole[key], again[key]) for key in whole),
        "bits on the device": summary_of_run["val_bits_per_char"],
        "bits on the CPU": json.loads(scored.stdout)["bits_per_char"],
    }
    print(json.dumps(result, indent=1))
    return result


def device_tests(arguments: argparse.Namespace, device: str) -> dict[str, Any]:
    """Run the tests of the suite that use a device, and return how they ended."""
    chosen = ["tests/network/recurrence/test_triton_gpu.py", "tests/network/test_cuda_graph.py", "tests/test_conf.py"]
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", *chosen, "-k", "triton or gpu or cuda"]
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=max(1, arguments.seconds_left)
    )
    print(done.stdout[-2000:])
    return {"passed": done.returncode == 0, "output": done.stdout[-2000:]}
