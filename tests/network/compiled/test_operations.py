import os
import subprocess
import sys
from pathlib import Path

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


PROGRAM = """
import sys
import torch
from charrnn.network.compiled import operations
torch.set_num_threads(1)
torch.manual_seed(1)
x, weight, bias, targets = torch.randn(300, 40), torch.randn(70, 40), torch.randn(70), torch.randint(70, (300,))
inputs, recurrent = torch.randn(10, 6, 40), operations.packed(torch.randn(40, 40) / 8)
states = torch.zeros(11, 6, 40)
operations.scan("tanh", states, inputs, recurrent, inputs)
torch.save([states, *operations.linear_cross_entropy(x, weight, bias, targets)], sys.argv[1])
"""


def test_code_just_compiled_rounds_as_code_from_the_cache(tmp_path: Path) -> None:
    """A run that was the first on its machine is resumed by processes that find the compiled code."""
    unusable = tmp_path / "a file"
    unusable.touch()
    results = []
    for i, cache in enumerate((tmp_path, tmp_path, unusable)):
        result = tmp_path / f"{i}.pt"
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        subprocess.run([sys.executable, "-c", PROGRAM, str(result)], env=environment, check=True)
        results.append(torch.load(result, weights_only=True))
    assert any(file.suffix == ".nbc" for file in tmp_path.rglob("*"))
    for others in results[1:]:
        assert all(one.equal(other) for one, other in zip(results[0], others, strict=True))
