"""Compare the Triton kernel with the reference, on a GPU if available and otherwise in Triton's interpreter."""

import os

import pytest
import torch

from charrnn.network.recurrence import ACTIVATIONS, reference

ON_GPU = torch.cuda.is_available()
if not ON_GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
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
