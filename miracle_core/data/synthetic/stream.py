"""Random numbers that are the same on every machine and with every NumPy.

NumPy promises the raw output of a bit generator for good, but not what a ``Generator`` makes of it.
So the generator of shops takes raw 64-bit words and does the rest with exact operations only:
integers, and the four IEEE operations on doubles; no ``exp``, no power, no pairwise sum.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

_TO_UNIT = 2.0**-53

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class Stream:
    """One stream of random numbers, named by a seed and words, independent of all others.

    Args:
        seed: at least 0.
        names: say what the stream is for; another name gives another stream.
    """

    def __init__(self, seed: int, *names: str) -> None:
        entropy = [seed, *(zlib.crc32(name.encode()) for name in names)]
        self._bits = np.random.PCG64(np.random.SeedSequence(entropy))

    def uniform(self, *shape: int) -> FloatArray:
        """Doubles in [0, 1) with 53 random bits each, of the given shape."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))), dtype=np.uint64)
        return ((raw >> np.uint64(11)).astype(np.float64) * _TO_UNIT).reshape(shape)

    def permutation(self, n: int) -> IntArray:
        """The numbers 0 to n - 1 in random order, int64 [n]."""
        return np.argsort(self.uniform(n), kind="stable").astype(np.int64)


def cumulated(weights: IntArray) -> IntArray:
    """Running sums with a leading 0: [n] becomes [n + 1]."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(weights, dtype=np.int64)])


def pick(
    cumulative: IntArray, u: FloatArray, low: IntArray | int, high: IntArray | int
) -> IntArray:
    """Draw among the entries ``low`` to ``high - 1`` by weight.

    Args:
        cumulative: running sums of integer weights from :func:`cumulated`, [n + 1].
        u: uniform numbers, one a draw.
        low: first entry that may be drawn, one for all draws or one a draw.
        high: the entry after the last that may be drawn.

    Returns:
        int64, the shape of ``u``.
    """
    base = cumulative[low]
    at = base + (u * (cumulative[high] - base)).astype(np.int64)
    return (np.searchsorted(cumulative, at, side="right") - 1).astype(np.int64)
