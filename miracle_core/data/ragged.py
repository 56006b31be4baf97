"""Several runs of an array, one after another, such as histories among all sequences."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def ragged(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where the elements of runs ``[starts[i], starts[i] + lengths[i])`` lie, run after run.

    Returns:
        int64 [elements], the run of each element, and int64 [elements], its place.
    """
    runs = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(len(runs)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return runs, np.repeat(starts, lengths) + within
