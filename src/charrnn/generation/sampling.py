"""Sampling of a symbol from logits: temperature, truncation (top-k, top-p, min-p), and the draw.

B sample, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.utils.validation import require_integer, require_number

MIN_TEMPERATURE = 1e-30  # lower ones could overflow; here all but the most likely symbols already have weight 0
Logits = NDArray[np.floating]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """Draws symbols from p(c) = softmax(y / temperature)_c, truncated to the most likely symbols and renormalized.

    Truncation is applied in this order: `top_k` keeps the k most likely symbols (Fan 2018), `top_p` the fewest whose
    total probability is at least top_p (Holtzman 2020), `min_p` those with at least min_p times the highest probability
    (Nguyen 2024). None turns it off. Temperature 0 takes the most likely symbol. Raises `RequestError` for a value out
    of range.
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
        """Return the ids [B] drawn with random numbers in [0, 1), by inverting the cumulative distribution."""
        if self.temperature == 0:
            picked_BV: NDArray[Any] = logits_BV
        else:
            cumulative_BV = np.add.accumulate(self.weights(logits_BV), axis=1)
            # Even when rounded, the product is below the full sum, because a random number is at most 1 - 2^-53.
            picked_BV = cumulative_BV > uniforms_B[:, None] * cumulative_BV[:, -1:]
        ids_B: NDArray[np.intp] = picked_BV.argmax(axis=1)  # of equal values, the first
        return ids_B

    def weights(self, logits_BV: Logits) -> Numbers:
        """Return the probabilities [B, V] up to a positive factor in each row; the temperature must be above 0."""
        weights_BV = logits_BV.astype(np.float64)
        weights_BV -= weights_BV.max(axis=1, keepdims=True)
        weights_BV /= max(self.temperature, MIN_TEMPERATURE)
        np.exp(weights_BV, out=weights_BV)
        if self.top_k is None and self.top_p is None and self.min_p is None:
            return weights_BV
        order_BV = np.argsort(-weights_BV, axis=1, kind="stable")
        sorted_BV = np.take_along_axis(weights_BV, order_BV, axis=1)
        if self.top_k is not None:
            sorted_BV[:, self.top_k :] = 0
        if self.top_p is not None:
            sums_BV = sorted_BV.cumsum(axis=1)
            # Drop a symbol if those before it already reach top_p; the most likely one is always kept.
            sorted_BV[:, 1:][sums_BV[:, :-1] >= self.top_p * sums_BV[:, -1:]] = 0
        if self.min_p is not None:
            sorted_BV[sorted_BV < self.min_p * sorted_BV[:, :1]] = 0
        np.put_along_axis(weights_BV, order_BV, sorted_BV, axis=1)
        return weights_BV
