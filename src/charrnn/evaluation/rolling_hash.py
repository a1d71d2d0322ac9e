"""Hashes of all windows of a text at once, and a set of them to look up (Karp and Rabin 1987).

n symbols in a window, K windows in a set. Equal windows have equal hashes; the reverse is for the caller to check.
"""

import numpy as np
from numpy.typing import NDArray

from charrnn.data.vocabulary import Ids

BASE = 0x9E3779B97F4A7C15  # any odd number whose bits show no pattern
ROOM = 32  # entries of the table per hash in it: one window in so many is looked up in vain

Hashes = NDArray[np.uint64]


class Powers:
    """B, B^2, ... and 1, B^-1, B^-2, ... mod 2^64, for texts of up to `longest` symbols."""

    def __init__(self, longest: int) -> None:
        inverse = pow(BASE, -1, 1 << 64)
        self.powers = np.full(longest, BASE, np.uint64).cumprod(dtype=np.uint64)
        self.inverses = np.append(np.uint64(1), np.full(longest, inverse, np.uint64)).cumprod(dtype=np.uint64)


class HashedText:
    """A text of symbols c and the hashes of its windows, h_i = B c_i + B^2 c_{i+1} + ... + B^n c_{i+n-1} mod 2^64.

    With the sums P_i of B^{k+1} c_k over k < i it is h_i = B^-i (P_{i+n} - P_i), so one pass serves every n.
    """

    def __init__(self, ids: Ids, powers: Powers) -> None:
        self.ids = ids
        self._inverses = powers.inverses
        self._sums = np.zeros(len(ids) + 1, np.uint64)
        np.cumsum(powers.powers[: len(ids)] * ids.astype(np.uint64), out=self._sums[1:])

    def hashes(self, n: int) -> Hashes:
        """h, one for each window of n symbols; none if there are fewer symbols."""
        count = max(0, len(self._sums) - n)
        hashes: Hashes = (self._sums[n:] - self._sums[:count]) * self._inverses[:count]
        return hashes


class HashSet:
    """Hashes to look for in many others."""

    def __init__(self, hashes: Hashes) -> None:
        self._hashes_K = np.sort(hashes)
        bits = max(8, (ROOM * len(hashes)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)  # whether there is a hash that begins with these bits
        self._table[self._hashes_K >> self._shift] = True

    def positions(self, hashes: Hashes) -> NDArray[np.int64]:
        """Where one of the set stands among `hashes`, in order."""
        likely = np.flatnonzero(self._table[(hashes >> self._shift).view(np.int64)])
        places = np.searchsorted(self._hashes_K, hashes[likely])
        places[places == len(self._hashes_K)] = 0
        found: NDArray[np.int64] = likely[self._hashes_K[places] == hashes[likely]]
        return found
