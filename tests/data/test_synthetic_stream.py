"""The random numbers of the shop generator."""

from __future__ import annotations

import numpy as np
import pytest

from miracle_core.data.synthetic.stream import Stream, cumulated, pick


def test_uniform_numbers_are_the_documented_ones() -> None:
    reference = np.random.Generator(np.random.PCG64(np.random.SeedSequence([7])))
    np.testing.assert_array_equal(Stream(7).uniform(2, 3), reference.random((2, 3)))


def test_pick_follows_integer_weights_within_its_bounds() -> None:
    cumulative = cumulated(np.array([5, 0, 1, 3, 4]))
    u = (np.arange(400) + 0.5) / 400
    assert np.bincount(pick(cumulative, u, 0, 5), minlength=5).tolist() == pytest.approx(
        [154, 0, 31, 92, 123], abs=1
    )
    assert np.bincount(pick(cumulative, u, 1, 4), minlength=5).tolist() == [0, 0, 100, 300, 0]
