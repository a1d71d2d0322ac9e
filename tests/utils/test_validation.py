import math

import pytest

from charrnn.utils import validation
from charrnn.utils.errors import RequestError


def test_values_in_range_are_returned_and_others_refused() -> None:
    assert validation.require_integer("n", 0, minimum=0) == 0
    assert repr(validation.require_integer("n", 1e4)) == "10000"
    assert validation.require_number("x", 0, 0.0) == 0.0
    assert validation.require_choice("c", "a", ("a", "b")) == "a"
    for value in (0, -1, 1.5, "3", None, True, math.nan):
        with pytest.raises(RequestError, match="n must be a positive integer, got"):
            validation.require_integer("n", value)
    for value in (-0.1, 1.0, "0.5", None, False, math.nan):
        with pytest.raises(RequestError, match="x must be a number of at least 0 and below 1, got"):
            validation.require_number("x", value, 0.0, below=1.0)
