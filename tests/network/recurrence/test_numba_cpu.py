import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from charrnn.network.compiled import loading, operations
from charrnn.network.recurrence import choose_kernel, elman_scan, kernels, usable_kernels

CPU = torch.device("cpu")
SIZES = st.integers(1, 70)


@pytest.fixture(autouse=True)
def _threads() -> Any:
    yield
    torch.set_num_threads(1)


def problem(steps: int, lanes: int, hidden: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(steps * 10_000 + lanes * 100 + hidden)
    shapes = ((steps, lanes, hidden), (lanes, hidden), (hidden, hidden))
    inputs, state, weight = (torch.randn(shape, generator=generator) for shape in shapes)
    return [inputs, state, torch.linalg.qr(weight)[0] * 0.9]


def gradient_of_states(states: Tensor) -> Tensor:
    return torch.linspace(-1, 1, states.numel()).view(states.shape)


def results(kernel: str, tensors: list[Tensor], activation: str) -> list[Tensor]:
    """The states, and the gradients of inputs, state and weight for fixed gradients of the states."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    states = elman_scan(*leaves, activation, kernel)
    states.backward(gradient_of_states(states))
    return [states.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def expected_gradients(tensors: list[Tensor], states: Tensor, activation: str) -> list[Tensor]:
    """BPTT as its equations say, in float64, from these states: a ReLU at its kink may round to either side."""
    _, state, weight = (tensor.double() for tensor in tensors)
    h = torch.cat([state[None], states.double()])
    derivative = 1 - h[1:] ** 2 if activation == "tanh" else (h[1:] > 0).double()
    gradient, error, errors = gradient_of_states(states).double(), torch.zeros_like(state), []
    for t in reversed(range(len(states))):
        error = (gradient[t] + error @ weight) * derivative[t]
        errors.insert(0, error)
    return [torch.stack(errors), error @ weight, sum(e.t() @ before for e, before in zip(errors, h[:-1], strict=True))]


@settings(max_examples=60, deadline=None)
@given(steps=SIZES, lanes=SIZES, hidden=SIZES, activation=st.sampled_from(["tanh", "relu"]))
def test_values_and_gradients_equal_the_equations(steps: int, lanes: int, hidden: int, activation: str) -> None:
    tensors = problem(steps, lanes, hidden)
    states, *gradients = results("numba", tensors, activation)
    reference = elman_scan(*tensors, activation, "reference")
    expected = [reference, *expected_gradients(tensors, states, activation)]
    for got, right in zip([states, *gradients], expected, strict=True):
        # The sum of a gradient may cancel to less than its terms, which are about 1.
        assert (got - right).abs().max() <= 1e-5 * right.abs().max() + 1e-6


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("size", [(9, 32, 96), (4, 13, 70), (3, 8, 33), (5, 70, 16)])
def test_the_result_does_not_depend_on_the_threads(size: tuple[int, int, int], activation: str) -> None:
    tensors, found = problem(*size), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        states, inputs_grad, *_ = results("numba", tensors, activation)
        found.append((states, inputs_grad))
    for states, inputs_grad in found[1:]:
        assert states.equal(found[0][0]) and inputs_grad.equal(found[0][1])


def test_tanh_is_accurate_everywhere() -> None:
    inputs = torch.cat([torch.linspace(-12, 12, 40_001), torch.logspace(-30, 1, 4_000), torch.tensor([1e30, -1e30])])
    padded = torch.nn.functional.pad(inputs, (0, -len(inputs) % 40)).view(1, -1, 40)
    states = elman_scan(padded, torch.zeros_like(padded[0]), torch.zeros(40, 40), "tanh", "numba")
    torch.testing.assert_close(states, padded.double().tanh().float(), rtol=5e-7, atol=1e-37)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_nan_stays_nan(activation: str) -> None:
    inputs, state, weight = problem(3, 5, 40)
    inputs[1, 2, 7] = torch.nan
    states = elman_scan(inputs, state, weight, activation, "numba")
    expected = elman_scan(inputs, state, weight, activation, "reference")
    assert states.isnan().equal(expected.isnan()) and states.isnan().any()


def test_what_it_can_not_do_is_said() -> None:
    assert usable_kernels(CPU, torch.float32)["numba"] is None
    assert "supports torch.float32" in str(usable_kernels(CPU, torch.float64)["numba"])
    assert "runs on the CPU" in str(usable_kernels(torch.device("cuda"), torch.float32)["numba"])
    assert choose_kernel("auto", CPU, torch.float32)[0] == "numba"
    assert choose_kernel("auto", CPU, torch.bfloat16)[0] == "fused"


@pytest.fixture
def _fresh() -> Any:
    caches = (kernels._why_not, kernels._automatic, operations.problem, operations.loops, operations.output_loop)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.usefixtures("_fresh")
def test_without_numba_auto_falls_back_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    for _ in range(2):
        assert choose_kernel("auto", CPU, torch.float32)[0] == "fused"
    assert caplog.text.count("is not available: numba is not installed; using fused") == 1


@pytest.mark.usefixtures("_fresh")
def test_a_failed_compilation_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise ValueError("no such target\nand more")

    monkeypatch.setattr(loading, "_load", fails)
    reason = usable_kernels(CPU, torch.float32)["numba"]
    assert reason == "it can't be compiled here (ValueError: no such target)"


@pytest.mark.slow
@pytest.mark.usefixtures("_fresh")
def test_the_code_is_cached_and_a_damaged_cache_is_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tensors = problem(3, 5, 40)
    expected = results("reference", tensors, "tanh")[0]

    def compiles() -> bool:
        caplog.clear()
        operations.loops.cache_clear()
        torch.testing.assert_close(results("numba", tensors, "tanh")[0], expected, rtol=1e-5, atol=1e-6)
        return "compiling the recurrence" in caplog.text

    assert compiles()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 2 and not compiles()
    for file in files:
        file.write_bytes(b"damaged")
    assert compiles()
