"""Counter-based random numbers: uniform, independent, and determined by their keys alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.ranking.draws import keys_within, mixed, others, uniform
from tests.systems.miracle.support import SETTINGS

STREAM = (2023, 4)


def python_mix(z: int) -> int:
    """The splitmix64 step as Steele, Lea and Flood print it, in Python integers."""
    z &= 2**64 - 1
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


@SETTINGS
@given(z=st.integers(-(2**63), 2**63 - 1))
def test_mixing_is_that_of_unsigned_numbers(z: int) -> None:
    assert int(mixed(torch.tensor([z]))) % 2**64 == python_mix(z)


def test_the_known_outputs_of_splitmix64() -> None:
    """The first three outputs for seed 1234567, as published by Rosetta Code."""
    golden = 0x9E3779B97F4A7C15
    states = [(1234567 + i * golden) % 2**64 for i in (1, 2, 3)]
    signed = torch.tensor([s - 2**64 if s >= 2**63 else s for s in states])
    found = [z % 2**64 for z in mixed(signed).tolist()]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_uniform() -> None:
    drawn = uniform(STREAM, torch.arange(500), "test", (8, 25)).numpy()
    assert drawn.shape == (500, 8, 25)
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    counts = np.histogram(drawn, bins=50, range=(0, 1))[0]
    chi = ((counts - 2000) ** 2 / 2000).sum()
    assert 25 < chi < 85  # 49 degrees of freedom
    assert abs(drawn.mean() - 0.5) < 0.005
    assert abs(drawn.var() - 1 / 12) < 0.002


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((STREAM, 0, "a"), (STREAM, 1, "a")),
        ((STREAM, 0, "a"), (STREAM, 0, "b")),
        (((2023, 4), 0, "a"), ((2023, 5), 0, "a")),
        (((2023, 4), 0, "a"), ((2024, 4), 0, "a")),
        (((2023, 4), 0, "a"), ((4, 2023), 0, "a")),
    ],
)
def test_other_keys_purposes_and_streams_are_independent(one, other) -> None:
    first, second = (
        uniform(stream, torch.tensor([key]), purpose, (20_000,))[0].numpy()
        for stream, key, purpose in (one, other)
    )
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    # Nor is one a shifted copy of the other.
    assert np.intersect1d(first, second).size == 0


def test_neighbouring_keys_are_independent_place_by_place() -> None:
    drawn = uniform(STREAM, torch.arange(20_000), "test", (3,)).numpy()
    for place in range(3):
        assert abs(np.corrcoef(drawn[:-1, place], drawn[1:, place])[0, 1]) < 0.03
    assert np.unique(drawn).size == drawn.size


@SETTINGS
@given(
    keys=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=9, unique=True),
    data=st.data(),
)
def test_a_key_draws_the_same_in_any_batch(keys: list[int], data: st.DataObject) -> None:
    whole = uniform(STREAM, torch.tensor(keys), "test", (4,))
    chosen = data.draw(st.lists(st.integers(0, len(keys) - 1), min_size=1))
    again = uniform(STREAM, torch.tensor(keys)[chosen], "test", (4,))
    assert torch.equal(again, whole[chosen])


def test_more_numbers_begin_with_the_same() -> None:
    keys = torch.arange(5)
    assert torch.equal(uniform(STREAM, keys, "x", (9,))[:, :4], uniform(STREAM, keys, "x", (4,)))


def test_one_number_a_key_and_none() -> None:
    assert uniform(STREAM, torch.arange(3), "x").shape == (3,)
    assert uniform(STREAM, torch.arange(0), "x", (4,)).shape == (0, 4)


def test_places_within_examples_have_keys_of_their_own() -> None:
    examples, places = torch.arange(300).repeat_interleave(20), torch.arange(20).repeat(300)
    assert len(keys_within(examples, places).unique()) == 6000


def test_the_largest_number_stays_below_any_count() -> None:
    largest = 1.0 - 2.0**-52
    for n in (1, 2, 3, 5, 2**31 - 1, 2**31 + 1, 3**20):
        assert int(torch.tensor(largest, dtype=torch.float64).mul(n)) == n - 1


@SETTINGS
@given(n_items=st.integers(2, 9), data=st.data())
def test_a_target_is_never_its_own_negative(n_items: int, data: st.DataObject) -> None:
    targets = torch.tensor(data.draw(st.lists(st.integers(0, n_items - 1), min_size=1)))
    drawn = others(STREAM, torch.arange(len(targets)), targets, n_items, 50)
    assert drawn.shape == (len(targets), 50)
    assert (drawn != targets.unsqueeze(1)).all()
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < n_items


def test_every_other_item_is_equally_likely() -> None:
    targets = torch.tensor([0, 3, 6]).repeat(1000)
    drawn = others(STREAM, torch.arange(3000), targets, 7, 20)
    for target in (0, 3, 6):
        counts = torch.bincount(drawn[targets == target].flatten(), minlength=7)
        assert counts[target] == 0
        rest = counts[torch.arange(7) != target].double()
        assert float((rest - 20_000 / 6).abs().max()) < 250  # almost five standard deviations
