"""Select some of the interests, in packed and in padded batches."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.ranking.interests import Interests
from tests.ranking.test_loss import WIDTH
from tests.ranking.test_padded import PLACES, padded_interests
from tests.systems.miracle.support import SEEDS, random_users

Named = dict[int, dict[int, tuple[float, ...]]]


def packed_interests(users: list[dict[int, np.ndarray]]) -> Interests:
    """The same interests packed: no padding, users grouped by their number of interests."""
    order = sorted(range(len(users)), key=lambda user: len(users[user]))
    sizes = [len(users[user]) for user in order]
    groups = tuple((size, sizes.count(size)) for size in sorted(set(sizes)))
    rows = [(which, users[user][which]) for user in order for which in sorted(users[user])]
    return Interests(
        torch.from_numpy(np.array([vector for _, vector in rows])),
        torch.tensor([which for which, _ in rows]),
        torch.tensor(order),
        groups,
    )


def named(found: Interests) -> Named:
    """Every history's vectors by their numbers, read from the groups of users."""
    told: Named = {}
    row = place = 0
    for count, n in found.groups:
        for _ in range(n):
            own = slice(row, row + count)
            vectors = map(tuple, found.vectors[own].tolist())
            which = found.which[own].tolist()
            assert which == sorted(which)
            told[int(found.users[place])] = dict(zip(which, vectors, strict=True))
            row, place = row + count, place + 1
    assert (row, place) == (len(found.vectors), found.n_users)
    return told


@given(SEEDS, st.lists(st.integers(1, PLACES), min_size=1, max_size=6), st.booleans())
def test_some_of_the_interests(seed: int, counts: list[int], raw: bool) -> None:
    """Padding never counts, even if it is selected."""
    rng = np.random.default_rng(seed)
    drawn = random_users(rng, counts, WIDTH)
    padded = padded_interests(drawn, rng)
    # The numbers of interests are drawn above. Here they are the indices in the padded batch.
    assert padded.active is not None
    held = padded.active.view(len(counts), PLACES)
    users = [
        {
            int(place): vector.numpy()
            for place, vector in zip(held[row].nonzero().squeeze(1), mine, strict=True)
        }
        for row in range(len(counts))
        for mine in [padded.vectors.view(len(counts), PLACES, WIDTH)[row][held[row]]]
    ]
    wanted = torch.from_numpy(rng.random((len(counts), PLACES)) < 0.5)
    left = [
        {which: tuple(vector) for which, vector in user.items() if wanted[row, which]}
        for row, user in enumerate(users)
    ]
    having = [row for row, user in enumerate(left) if user]
    for interests in (padded, packed_interests(users)):
        if raw:
            interests = interests.replace_vectors(interests.vectors * 0.5).replace_vectors(
                interests.vectors
            )
        owner = (
            torch.arange(len(counts)).repeat_interleave(PLACES)
            if interests.active is not None
            else interests.users.repeat_interleave(interests.counts())
        )
        found, chosen = interests.only(wanted[owner, interests.which])
        assert chosen.nonzero().squeeze(1).tolist() == having
        assert named(found) == {place: left[row] for place, row in enumerate(having)}
        assert found.active is None
        assert [k for k, _ in found.groups] == sorted({len(left[row]) for row in having})
        assert (found.raw is not None) == raw
        if found.raw is not None:
            assert torch.equal(found.raw, found.vectors * 0.5)


def test_of_users_without_any_interest_there_are_no_counts():
    none = torch.zeros(0, dtype=torch.int64)
    interests = Interests(torch.zeros(0, 3), none, none, ())
    assert interests.counts().tolist() == []
    assert interests.counts().dtype == torch.int64
