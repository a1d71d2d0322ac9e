"""Compare the Triton kernel with the reference, on a GPU if available and otherwise in Triton's interpreter."""

import pytest
import torch

from charrnn.network.recurrence import ACTIVATIONS, bptt, reference

ON_GPU = torch.cuda.is_available()
pytest.importorskip("triton", reason="triton is not installed")
DEVICE = "cuda" if ON_GPU else "cpu"
CARDS = {"H100": (132, 232_448), "A100": (108, 166_912), "RTX 3060": (28, 101_376)}
DTYPES = {torch.float32: 1e-5, **({torch.bfloat16: 4e-2} if ON_GPU else {})}  # the interpreter has no bfloat16 matmul


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 3, 5), (6, 20, 32), (5, 2, 17), (4, 3, 130), (3, 35, 300)])
def test_values_and_gradients_of_the_kernel(activation: str, dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    compare(shape, dtype, activation)


def compare(shape: tuple[int, int, int], dtype: torch.dtype, activation: str) -> None:
    """Compare states and gradients with those of the reference."""
    from charrnn.network.recurrence import triton_gpu

    steps, lanes, hidden = shape
    weight = torch.linalg.qr(torch.randn(hidden, hidden))[0] * 0.9
    values = (torch.randn(steps, lanes, hidden), torch.randn(lanes, hidden), weight)
    results = []
    for scan in (triton_gpu.elman_scan, reference.elman_scan):
        given = [value.to(DEVICE, dtype, copy=True).requires_grad_() for value in values]
        states = scan(*given, activation)
        states.float().pow(2).sum().backward()
        results.append([states.detach(), *(tensor.grad for tensor in given)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=DTYPES[dtype] * theirs.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("hidden", [1, 100, 256, 257, 512, 800, 1024, 1180, 3000])
@pytest.mark.parametrize("lanes", [1, 16, 64, 256, 4096])
@pytest.mark.parametrize(("multiprocessors", "shared_memory"), CARDS.values(), ids=CARDS)
def test_programs_that_wait_for_each_other_all_run_at_once(
    multiprocessors: int, shared_memory: int, lanes: int, hidden: int, tf32: bool, dtype: torch.dtype
) -> None:
    from charrnn.network.recurrence.triton_gpu import Device, plan

    device = Device(multiprocessors, shared_memory)
    spread = plan(lanes, hidden, dtype, tf32, device)
    if hidden <= 256:
        assert spread is not None
        assert spread.programs == (lanes,)
    elif spread is not None:
        blocks, groups = spread.programs
        used = spread.constants
        assert blocks * groups <= multiprocessors
        assert blocks * used["UNITS"] >= hidden > (blocks - 1) * used["UNITS"]
        assert groups * used["LANES"] >= lanes > (groups - 1) * used["LANES"]
        assert used["PARTS"] * used["WIDTH"] >= hidden
        if used["ON_CHIP"]:
            assert (used["UNITS"] + used["LANES"]) * used["PARTS"] * used["WIDTH"] * dtype.itemsize < shared_memory
    else:
        # Even with the largest tile, there are too many.
        units, size = (64, 16) if dtype == torch.float32 and not tf32 else (32, 64)
        assert -(-hidden // units) * -(-lanes // size) > multiprocessors


def test_sizes_for_which_there_are_too_few_multiprocessors(monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.network.recurrence import triton_gpu

    called = []
    loops = triton_gpu.fused.LOOPS
    recording = bptt.Loops(
        lambda *given: called.append("forward") or loops.forward(*given),  # type: ignore[func-returns-value]
        lambda *given: called.append("backward") or loops.backward(*given),  # type: ignore[func-returns-value]
    )
    monkeypatch.setattr(triton_gpu.fused, "LOOPS", recording)
    monkeypatch.setattr(triton_gpu, "_properties", lambda device: triton_gpu.Device(1, 232_448))
    compare((3, 2, 300), torch.float32, "tanh")
    assert called == ["forward", "backward"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [8, 300])
def test_nan_stays_nan(hidden: int, activation: str) -> None:
    from charrnn.network.recurrence import triton_gpu

    inputs = torch.randn(3, 2, hidden, device=DEVICE)
    inputs[1, 1, 3] = torch.nan
    given = inputs, torch.zeros(2, hidden, device=DEVICE), torch.full((hidden, hidden), 0.1, device=DEVICE)
    states, expected = (scan(*given, activation).isnan() for scan in (triton_gpu.elman_scan, reference.elman_scan))
    assert torch.equal(states, expected)
    assert int(states.sum()) == 1 + hidden
