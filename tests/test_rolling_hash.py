import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.rolling_hash import BASE, HashedText, HashSet, Powers


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
def test_the_hash_of_a_window_is_the_polynomial_of_its_symbols(dtype: type) -> None:
    ids = np.random.default_rng(0).integers(200, size=50).astype(dtype)
    text = HashedText(ids, Powers(60))
    for n in (1, 2, 7, 50):
        expected = [
            sum(pow(BASE, k + 1) * int(symbol) for k, symbol in enumerate(ids[i : i + n])) % 2**64
            for i in range(len(ids) - n + 1)
        ]
        assert text.hashes(n).tolist() == expected
    assert len(text.hashes(51)) == len(text.hashes(1000)) == 0


numbers = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9) | st.integers(2**64 - 9, 2**64 - 1), max_size=50)


@given(wanted=numbers, others=numbers)
def test_a_set_finds_its_own_and_nothing_else(wanted: list[int], others: list[int]) -> None:
    asked = [*others, *wanted[:20]]
    found = HashSet(np.array(wanted, np.uint64)).positions(np.array(asked, np.uint64))
    assert found.tolist() == [i for i, number in enumerate(asked) if number in wanted]
