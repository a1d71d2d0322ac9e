"""Rolling hashes of all windows of a text, and a set of hashes to search for (Karp and Rabin 1987).

n symbols in a window, K hashes in a set. Equal windows have equal hashes. Different windows may too: the caller checks.
"""

import numpy as np
from numpy.typing import NDArray

from charrnn.data.vocabulary import Ids

BASE = 0x9E3779B97F4A7C15  # any odd number with irregular bits works
TABLE_ENTRIES_PER_HASH = 32  # so about 1 window in 32 passes the table by chance

Hashes = NDArray[np.uint64]


class Powers:
    """Holds B, B^2, ... and 1, B^-1, B^-2, ... mod 2^64, for texts of up to `longest` symbols."""

    def __init__(self, longest: int) -> None:
        inverse = pow(BASE, -1, 1 << 64)
        self.powers = np.full(longest, BASE, np.uint64).cumprod(dtype=np.uint64)
        self.inverses = np.append(np.uint64(1), np.full(longest, inverse, np.uint64)).cumprod(dtype=np.uint64)


class HashedText:
    """Hashes the windows of a text of symbols c: h_i = B c_i + B^2 c_{i+1} + ... + B^n c_{i+n-1} mod 2^64.

    With P_i = sum of B^{k+1} c_k over k < i, h_i = B^-i (P_{i+n} - P_i). So one pass over the text is enough for all n.
    """

    def __init__(self, ids: Ids, powers: Powers) -> None:
        self.ids = ids
        self._inverses = powers.inverses
        self._sums = np.zeros(len(ids) + 1, np.uint64)
        np.cumsum(powers.powers[: len(ids)] * ids.astype(np.uint64), out=self._sums[1:])

    def hashes(self, n: int) -> Hashes:
        """Return the hash of each window of n symbols; empty if the text is shorter."""
        count = max(0, len(self._sums) - n)
        hashes: Hashes = (self._sums[n:] - self._sums[:count]) * self._inverses[:count]
        return hashes


class HashSet:
    """A set of hashes that are searched for among many others."""

    def __init__(self, hashes: Hashes) -> None:
        self._hashes_K = np.sort(hashes)
        bits = max(8, (TABLE_ENTRIES_PER_HASH * len(hashes)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, bool)  # index: the leading bits of a hash
        self._table[self._hashes_K >> self._shift] = True

    def positions(self, hashes: Hashes) -> NDArray[np.int64]:
        """Return the positions in `hashes` of all that are in the set, in increasing order."""
        candidates = np.flatnonzero(self._table[(hashes >> self._shift).view(np.int64)])
        indices = np.searchsorted(self._hashes_K, hashes[candidates])
        indices[indices == len(self._hashes_K)] = 0
        found: NDArray[np.int64] = candidates[self._hashes_K[indices] == hashes[candidates]]
        return found
