"""From logits to a symbol: temperature, the cuts that people use, and the draw.

B sample, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.utils.validation import require_integer, require_number

COLDEST = 1e-30  # below it a quotient might overflow; all but the likeliest symbols have the weight 0 long before
Logits = NDArray[np.floating]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """How a symbol is drawn: p(c) = softmax(y / temperature)_c, cut down to the likeliest symbols and made to sum to 1.

    One after the other: `top_k` keeps the k likeliest (Fan 2018), `top_p` the fewest that together have at least that
    probability (Holtzman 2020), `min_p` those with at least that share of the likeliest one's (Nguyen 2024). None cuts
    nothing. Temperature 0 takes the likeliest symbol. Raises `RequestError` for what is out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    def __post_init__(self) -> None:
        require_number("temperature", self.temperature, 0.0)
        if self.top_k is not None:
            require_integer("top_k", self.top_k)
        for name in ("top_p", "min_p"):
            if getattr(self, name) is not None:
                require_number(name, getattr(self, name), 0.0, at_most=1.0)

    def pick(self, logits_BV: Logits, uniforms_B: Numbers) -> NDArray[np.intp]:
        """The ids [B] that `uniforms_B` in [0, 1) pick: the inverse of the cumulative sum of the probabilities."""
        if self.temperature == 0:
            picked_BV: NDArray[Any] = logits_BV
        else:
            cumulative_BV = np.add.accumulate(self.weights(logits_BV), axis=1)
            # Rounded, the product still lies below the full sum: the largest uniform number is 1 - 2^-53.
            picked_BV = cumulative_BV > uniforms_B[:, None] * cumulative_BV[:, -1:]
        ids_B: NDArray[np.intp] = picked_BV.argmax(axis=1)  # the first of those that are equal
        return ids_B

    def weights(self, logits_BV: Logits) -> Numbers:
        """The probabilities [B, V] times any positive number, at a temperature above 0."""
        weights_BV = logits_BV.astype(np.float64)
        weights_BV -= weights_BV.max(axis=1, keepdims=True)
        weights_BV /= max(self.temperature, COLDEST)
        np.exp(weights_BV, out=weights_BV)
        if self.top_k is None and self.top_p is None and self.min_p is None:
            return weights_BV
        order_BV = np.argsort(-weights_BV, axis=1, kind="stable")
        sorted_BV = np.take_along_axis(weights_BV, order_BV, axis=1)
        if self.top_k is not None:
            sorted_BV[:, self.top_k :] = 0
        if self.top_p is not None:
            sums_BV = sorted_BV.cumsum(axis=1)
            # A symbol stays if those before it do not reach the share; the likeliest one always does.
            sorted_BV[:, 1:][sums_BV[:, :-1] >= self.top_p * sums_BV[:, -1:]] = 0
        if self.min_p is not None:
            sorted_BV[sorted_BV < self.min_p * sorted_BV[:, :1]] = 0
        np.put_along_axis(weights_BV, order_BV, sorted_BV, axis=1)
        return weights_BV
