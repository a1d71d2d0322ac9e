"""Compare the Triton kernel with the reference, on a GPU if available and otherwise in Triton's interpreter."""

import pytest
import torch

from charrnn.network.recurrence import ACTIVATIONS, reference

ON_GPU = torch.cuda.is_available()
pytest.importorskip("triton", reason="triton is not installed")
DEVICE = "cuda" if ON_GPU else "cpu"
DTYPES = {torch.float32: 1e-5, **({torch.bfloat16: 4e-2} if ON_GPU else {})}  # the interpreter has no bfloat16 matmul


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 3, 5), (6, 20, 32), (5, 2, 17), (4, 3, 130), (3, 35, 300)])
def test_values_and_gradients_of_the_kernel(activation: str, dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
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
@pytest.mark.parametrize("hidden", [1, 100, 256, 257, 512, 1024, 3000])
@pytest.mark.parametrize("lanes", [1, 16, 64, 256, 4096])
@pytest.mark.parametrize(("multiprocessors", "shared_memory"), [(132, 232_448), (28, 101_376)])  # H100, RTX 3060
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
            assert (used["UNITS"] + used["LANES"]) * hidden * dtype.itemsize < shared_memory
    else:
        # Even with the largest tile, there are too many.
        units, size = (64, 16) if dtype == torch.float32 and not tf32 else (32, 64)
        assert -(-hidden // units) * -(-lanes // size) > multiprocessors


def test_sizes_for_which_there_are_too_few_multiprocessors(monkeypatch: pytest.MonkeyPatch) -> None:
    from charrnn.network.recurrence import triton_gpu

    monkeypatch.setattr(triton_gpu, "_properties", lambda device: triton_gpu.Device(1, 232_448))
    values = torch.randn(3, 2, 300), torch.randn(2, 300), torch.randn(300, 300) / 20
    states, expected = (
        scan(*(value.to(DEVICE) for value in values), "tanh") for scan in (triton_gpu.elman_scan, reference.elman_scan)
    )
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-5)
