from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.network.recurrence import (
    ACTIVATIONS,
    KERNELS,
    choose_kernel,
    elman_scan,
    kernels,
    nearest_kernel,
    usable_kernels,
)  # fmt: skip
from charrnn.runs import checkpoint_file
from charrnn.utils.errors import RequestError
from conftest import call, train_here

CPU = torch.device("cpu")


def usable(dtype: torch.dtype) -> list[str]:
    return [kernel for kernel, reason in usable_kernels(CPU, dtype).items() if reason is None]


USABLE = usable(torch.float64)
FAST = [kernel for kernel in USABLE if kernel != "reference"]
FAST_AND_TYPE = [(k, dtype) for dtype in (torch.float64, torch.float32) for k in usable(dtype) if k != "reference"]
# The largest difference from the reference, relative to the largest value. In bfloat16 the reference itself is
# inaccurate, so another test compares both with float64.
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-5}


def problem(steps: int, lanes: int, hidden: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Inputs, state and weight of a recurrence that neither dies nor explodes."""
    shapes = ((steps, lanes, hidden), (lanes, hidden), (hidden, hidden))
    inputs, state, weight = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    return [x.to(dtype).requires_grad_() for x in (inputs, state, torch.linalg.qr(weight)[0] * 0.9)]


@pytest.mark.parametrize("kernel", USABLE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("steps", [1, 6])
def test_states_equal_the_equation_in_numpy(kernel: str, activation: str, steps: int) -> None:
    rng = np.random.default_rng(0)
    inputs, state, weight = rng.normal(size=(steps, 3, 4)), rng.normal(size=(3, 4)), rng.normal(size=(4, 4))
    states = elman_scan(*map(torch.from_numpy, (inputs, state, weight)), activation, kernel)
    assert states.shape == (steps, 3, 4)
    for t in range(steps):
        a = inputs[t] + state @ weight.T
        state = np.tanh(a) if activation == "tanh" else np.maximum(a, 0)
        np.testing.assert_allclose(states[t].numpy(), state, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kernel", FAST)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("steps", [1, 5])
def test_gradcheck(kernel: str, activation: str, steps: int) -> None:
    assert torch.autograd.gradcheck(
        lambda *tensors: elman_scan(*tensors, activation, kernel), problem(steps, 2, 3), raise_exception=True
    )


USES = {
    "all": lambda states: states,
    "the last": lambda states: states[-1:],
    "another layout": lambda states: states.transpose(0, 1).contiguous().transpose(0, 1),
}


def states_and_gradients(kernel: str, tensors: list[Tensor], activation: str, use: str) -> list[Tensor]:
    given = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    states = elman_scan(*given, activation, kernel)
    used = USES[use](states)
    weighting = torch.linspace(-1, 1, used.numel(), dtype=torch.float64).view(used.shape).to(used.dtype)
    (used * weighting).sum().backward()
    results = [states.detach(), *(tensor.grad for tensor in given if tensor.grad is not None)]
    assert len(results) == 4
    assert all(result.dtype == tensors[0].dtype for result in results)
    return results


@pytest.mark.parametrize(("kernel", "dtype"), FAST_AND_TYPE)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(1, 3, 5), (40, 4, 64), (65, 1, 7)])
@pytest.mark.parametrize("use", USES)
def test_values_and_gradients_of_the_kernel(
    kernel: str, activation: str, dtype: torch.dtype, shape: tuple[int, int, int], use: str
) -> None:
    tensors = problem(*shape, dtype)
    expected = states_and_gradients("reference", tensors, activation, use)
    for ours, theirs in zip(states_and_gradients(kernel, tensors, activation, use), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE[dtype] * theirs.abs().max().item())


@pytest.mark.parametrize("kernel", FAST)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bfloat16_is_as_accurate_as_the_reference(kernel: str, activation: str) -> None:
    tensors = problem(20, 4, 64, torch.bfloat16)
    runs = (("reference", [x.double() for x in tensors]), (kernel, tensors), ("reference", tensors))
    for true, our, their in zip(*(states_and_gradients(*run, activation, "all") for run in runs), strict=True):
        assert (our - true).norm() <= 1.1 * (their - true).norm()


@pytest.mark.parametrize("kernel", FAST)
def test_small_states_are_not_lost(kernel: str) -> None:
    """With the sigmoid, a state near zero is a small difference from 1/2."""
    for dtype, largest_error in ((torch.float32, 2e-7), (torch.bfloat16, 1e-6)):
        tiny = torch.full((3, 1, 2), 1e-4, dtype=dtype)
        zero = torch.zeros(2, 2, dtype=dtype)
        states = elman_scan(tiny, zero[:1], zero, "tanh", kernel)
        assert (states - tiny.tanh()).abs().max() <= largest_error


@pytest.mark.parametrize(("kernel", "dtype"), FAST_AND_TYPE)
def test_arguments_are_not_modified(kernel: str, dtype: torch.dtype) -> None:
    inputs, state, weight = problem(5, 2, 3, dtype)
    originals = [x.detach().clone() for x in (inputs, state, weight)]
    states = elman_scan(inputs, state, weight, "tanh", kernel)
    gradient = torch.randn_like(states)
    kept = gradient.clone()
    states.backward(gradient)
    assert torch.equal(gradient, kept)
    assert all(torch.equal(x, y) for x, y in zip((inputs, state, weight), originals, strict=True))


@pytest.mark.parametrize("kernel", FAST)
def test_autocast_computes_in_its_dtype(kernel: str) -> None:
    tensors = problem(5, 2, 4, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        states = elman_scan(*tensors, "tanh", kernel)
        expected = elman_scan(*tensors, "tanh", "reference")
    assert states.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(states, expected, rtol=0, atol=0.03)
    states.float().sum().backward()
    assert tensors[2].grad.dtype == torch.float32


def test_available_kernels_and_why_others_are_not() -> None:
    usable = usable_kernels(CPU, torch.float32)
    assert set(usable) == set(KERNELS)
    assert usable["reference"] is usable["fused"] is usable["numba"] is None
    assert usable["triton"] == "it needs a CUDA device, not cpu"
    assert choose_kernel("auto", CPU, torch.float32) == ("numba", "chosen for cpu and float32")
    assert choose_kernel("reference", CPU, torch.float32) == ("reference", "as requested")
    for unknown in ("warp", "onednn"):
        with pytest.raises(RequestError, match=f"auto, reference, fused, numba, triton; got '{unknown}'"):
            choose_kernel(unknown, CPU, torch.float32)
    with pytest.raises(
        RequestError,
        match="model.kernel=triton is not available here: it needs a CUDA device, not cpu; use model.kernel=auto",
    ):
        choose_kernel("triton", CPU, torch.float32)


@pytest.mark.parametrize(("kernel", "dtype"), [("triton", torch.float32), ("numba", torch.float64)])
def test_a_kernel_that_is_not_available_is_replaced(kernel: str, dtype: torch.dtype) -> None:
    """A network that was trained on a GPU, or with another dtype, can be read."""
    tensors = problem(5, 2, 4, dtype)
    assert nearest_kernel(kernel, CPU, dtype) == nearest_kernel("auto", CPU, dtype)
    assert torch.equal(elman_scan(*tensors, "tanh", kernel), elman_scan(*tensors, "tanh", "auto"))
    assert nearest_kernel("reference", CPU, dtype) == "reference"
    with pytest.raises(RequestError, match="got 'warp'"):
        nearest_kernel("warp", CPU, dtype)


def test_where_the_triton_kernel_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    for cached in (kernels._why_not, kernels._automatic):
        monkeypatch.setattr(kernels, cached.__name__, cached.__wrapped__)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert usable_kernels(cuda, dtype)["triton"] is None
        assert choose_kernel("auto", cuda, dtype)[0] == "triton"
    assert "not torch.float64" in str(usable_kernels(cuda, torch.float64)["triton"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert usable_kernels(cuda, torch.float32)["triton"] == "triton is not installed"
    assert choose_kernel("auto", cuda, torch.float32)[0] == "fused"


def test_runs_of_the_removed_kernel_resume(text_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = ("model.hidden=8", "data.sequence_length=8", "data.batch_size=4")
    train_here(tmp_path, *small, "trainer.max_steps=4", path=text_file)
    for path in (tmp_path / "checkpoints").glob("*.ckpt"):
        checkpoint = checkpoint_file.read(path)
        about = checkpoint["charrnn"]
        about["run"]["kernel"] = about["network"]["kernel"] = about["config"]["model"]["kernel"] = "onednn"
        checkpoint_file.write(checkpoint, path)
    best = ("--checkpoint", tmp_path / "checkpoints" / "best.ckpt")
    for command in (("scripts/generate.py", "--length", 5), ("scripts/evaluate.py", "--split", "validation")):
        called = call(*command, *best)
        assert (called.returncode, called.stderr) == (0, "")
    resumed = train_here(
        tmp_path, *small, "trainer.max_steps=6", "resume_from=last", f"hydra.run.dir={tmp_path}", path=text_file
    )
    assert (resumed["status"], resumed["steps"], resumed["kernel"]) == ("finished", 6, "numba")
    assert "kernel onednn, which this run started with, is not available here" in caplog.text
