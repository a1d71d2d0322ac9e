import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charrnn.network.compiled import operations

SIZES = st.integers(1, 140)


@settings(max_examples=60, deadline=None)
@given(depth=st.integers(1, 600), rows=SIZES, columns=SIZES)
def test_transposed_product(depth: int, rows: int, columns: int) -> None:
    generator = torch.Generator().manual_seed(depth)
    a, b = (torch.randn(depth, size, generator=generator) for size in (rows, columns))
    expected = a.double().t() @ b.double()
    got = operations.transposed_product(a, b)
    assert got.shape == expected.shape
    assert (got - expected).abs().max() <= 1e-5 * depth**0.5


def test_transposed_product_reads_views() -> None:
    a, b = torch.randn(2, 7, 50).unbind(0)[1].t(), torch.randn(50, 80)[:, ::2]
    torch.testing.assert_close(operations.transposed_product(a, b), a.t() @ b)


@pytest.mark.parametrize("columns", [32, 33, 64, 100])
def test_packed_columns_are_those_of_the_matrix(columns: int) -> None:
    weight = torch.arange(3.0 * columns).view(3, columns)
    packed = operations.packed(weight)
    width = packed.shape[2]
    assert columns >= width, "this test is for matrices of at least a tile"
    for i, panel in enumerate(packed):
        start = min(i * width, columns - width)
        assert panel.equal(weight[:, start : start + width])
    assert len(packed) == -(-columns // width)


def test_numbers_of_another_type_are_refused() -> None:
    """Compiled code would read past the end of their memory."""
    a, b, c = torch.randn(50, 40), torch.randn(50, 40).double(), torch.zeros(40)
    for call in (lambda: operations.transposed_product(a, b), lambda: operations.product(a, b.t())):
        with pytest.raises(TypeError, match="takes float32 on a CPU, got torch.float64"):
            call()
    for targets in (torch.zeros(50, dtype=torch.int32), torch.zeros(49, dtype=torch.int64)):
        with pytest.raises(TypeError, match="targets must be 50 int64, got torch.int"):
            operations.linear_cross_entropy(a, torch.randn(40, 40), c, targets)
