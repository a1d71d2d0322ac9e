import pytest
import torch

from charrnn import matmul

CPU = torch.device("cpu")
needs_onednn = pytest.mark.skipif(not matmul.serves(CPU, torch.float32), reason="this torch has no oneDNN")


@needs_onednn
@pytest.mark.parametrize("shape", [(70, 9), (8, 10, 9)])
def test_linear_equals_that_of_torch(shape: tuple[int, ...]) -> None:
    x, weight, bias = torch.randn(shape), torch.randn(5, 9), torch.randn(5)
    results = []
    for linear in (matmul.linear, torch.nn.functional.linear):
        given = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        y = linear(*given)
        (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
        results.append([y.detach(), *(tensor.grad for tensor in given)])
    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@needs_onednn
def test_products() -> None:
    x, weight, addend = torch.randn(6, 4), torch.randn(5, 4), torch.randn(6, 5)
    for form in (weight, matmul.packed(weight, 6)):
        torch.testing.assert_close(matmul.product(x, form), x @ weight.T)
        torch.testing.assert_close(matmul.product_plus(x, form, addend), x @ weight.T + addend)
    torch.testing.assert_close(matmul.product(x.t(), addend.t()), x.T @ addend)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [1, 1024, 2100])
def test_transposed_product(dtype: torch.dtype, rows: int) -> None:
    a, b = torch.randn(rows, 4, dtype=dtype), torch.randn(rows, 3, dtype=dtype)
    torch.testing.assert_close(matmul.transposed_product(a, b), a.T @ b, rtol=1e-4, atol=1e-4)


def test_other_types_and_few_rows_go_to_torch() -> None:
    assert not matmul.serves(CPU, torch.float64)
    assert not matmul.serves(CPU, torch.bfloat16)
    assert not matmul.serves(torch.device("cuda"), torch.float32)
    for dtype, rows in ((torch.float64, 100), (torch.float32, 2)):
        x, weight, bias = (torch.randn(size, dtype=dtype) for size in ((rows, 9), (5, 9), (5,)))
        assert torch.equal(matmul.linear(x, weight, bias), torch.nn.functional.linear(x, weight, bias))
    with torch.autocast("cpu", torch.bfloat16):
        assert matmul.linear(torch.randn(100, 9), torch.randn(5, 9), torch.randn(5)).dtype == torch.bfloat16
