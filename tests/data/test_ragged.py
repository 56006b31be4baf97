"""Ragged slices of an array, compared with plain ranges."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.data.ragged import ragged

RUNS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=8)


@given(drawn=RUNS)
def test_equals_plain_ranges(drawn: list[tuple[int, int]]) -> None:
    """Slices may be empty, overlap and come in any order."""
    starts, lengths = (np.array([run[i] for run in drawn], dtype=np.int64) for i in (0, 1))
    runs, places = ragged(starts, lengths)
    assert (runs.dtype, places.dtype) == (np.int64, np.int64)
    expected = [
        (run, place)
        for run, (start, length) in enumerate(drawn)
        for place in range(start, start + length)
    ]
    assert list(zip(runs.tolist(), places.tolist(), strict=True)) == expected
