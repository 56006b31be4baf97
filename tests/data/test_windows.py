"""Training windows: every training example is a target exactly once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.data.examples import leave_one_out, split_examples, windows
from miracle_core.data.packed import pack
from tests.systems.miracle.support import SETTINGS

LENGTHS = st.lists(st.integers(0, 14), min_size=1, max_size=8)


def offsets_of(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def targets_of(offsets, found, length) -> list[tuple[int, int, int]]:
    """For each window's targets: (user, target's position, number of earlier items read)."""
    targets = []
    for user, position in zip(found.users.tolist(), found.positions.tolist(), strict=True):
        first = max(int(offsets[user]), position - length)
        targets += [(user, place, place - first) for place in range(first + 1, position + 1)]
    return targets


@SETTINGS
@given(lengths=LENGTHS, length=st.integers(1, 6), data=st.data())
def test_every_training_example_is_a_target_once(lengths, length, data):
    """This also holds for the cuts of a temporal split, which can be anywhere in a history."""
    offsets = offsets_of(lengths)
    cuts = leave_one_out(offsets)
    if data.draw(st.booleans()):
        drawn = [
            sorted(data.draw(st.tuples(*[st.integers(int(a), int(b))] * 2)))
            for a, b in pairwise(offsets)
        ]
        cuts = np.array(drawn, dtype=np.int64)
    examples = split_examples(offsets, cuts, "train")
    found = targets_of(offsets, windows(offsets, cuts, length), length)
    own = [(user, place) for user, place, _ in found]
    assert sorted(own) == list(
        zip(examples.users.tolist(), examples.positions.tolist(), strict=True)
    )
    # A target sees 1 to N items before it; a user's newest target sees as many as possible.
    assert all(1 <= read <= length for _, _, read in found)
    for user in {user for user, _, _ in found}:
        place, read = max((place, read) for u, place, read in found if u == user)
        assert place == cuts[user, 0] - 1
        assert read == min(place - offsets[user], length)


@SETTINGS
@given(lengths=LENGTHS)
def test_whole_sequences_are_one_window_each(lengths):
    offsets = offsets_of(lengths)
    cuts = leave_one_out(offsets)
    found = windows(offsets, cuts, None)
    trained = cuts[:, 0] - offsets[:-1]
    assert found.users.tolist() == np.flatnonzero(trained >= 2).tolist()
    assert found.positions.tolist() == (cuts[trained >= 2, 0] - 1).tolist()


def test_a_history_of_nine_in_windows_of_three():
    offsets = np.array([0, 9])
    found = windows(offsets, np.array([[7, 8]]), 3)
    # Items 0 to 6 are for training. Items 1 to 6 are targets, in two windows of three.
    assert found.positions.tolist() == [6, 3]
    packed = pack(np.arange(9), np.zeros(2, dtype=np.int64), found.positions, 3)
    assert packed.items.tolist() == [3, 4, 5, 0, 1, 2]


def test_no_targets_no_windows():
    assert len(windows(np.array([0, 1, 1]), np.array([[1, 1], [1, 1]]), 5)) == 0
    assert len(windows(np.array([0, 1]), np.array([[1, 1]]), None)) == 0


@pytest.mark.parametrize("length", [1, 4])
def test_windows_shorter_than_what_is_read_never_reach_before_a_user(length):
    offsets = np.array([0, 3, 12])
    found = windows(offsets, np.array([[3, 3], [12, 12]]), length)
    for user, position in zip(found.users.tolist(), found.positions.tolist(), strict=True):
        assert offsets[user] < position < offsets[user + 1]
