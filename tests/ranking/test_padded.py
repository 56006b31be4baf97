"""Padded interests, rows that don't count, and tables of the items a user has had."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.data.packed import Packed, pack_lists, pad_lists
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.loss import max_interest_cross_entropy
from miracle_core.ranking.seen import Seen, SeenTable
from miracle_core.ranking.walk import best_items
from tests.ranking.test_loss import BLOCKS, WIDTH, set_blocks
from tests.reference.scoring import eq17_score, eq23_full
from tests.systems.miracle.support import SEEDS, SETTINGS, TOLERANCE, random_users

PLACES, N_ITEMS, LONGEST = 5, 7, 4
USERS = st.lists(
    st.tuples(
        st.integers(1, PLACES), st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=6)
    ),
    min_size=1,
    max_size=6,
)


def padded_interests(users: list[dict[int, np.ndarray]], rng: np.random.Generator) -> Interests:
    """Equally many places per user; the padding's content would win every item."""
    vectors = rng.normal(size=(len(users), PLACES, WIDTH)) * 1e3
    active = np.zeros((len(users), PLACES), dtype=bool)
    for row, user in enumerate(users):
        places = np.sort(rng.choice(PLACES, len(user), replace=False))
        active[row, places] = True
        vectors[row, places] = [user[which] for which in sorted(user)]
    return Interests(
        torch.from_numpy(vectors.reshape(-1, WIDTH)),
        torch.arange(PLACES).repeat(len(users)),
        torch.arange(len(users)),
        ((PLACES, len(users)),),
        torch.from_numpy(active.ravel()),
    )


class Case:
    """Random interests, items, histories and targets, in the caller's order."""

    def __init__(self, seed: int, drawn: list[tuple[int, list[int]]]) -> None:
        rng = np.random.default_rng(seed)
        self.histories = [history for _, history in drawn]
        self.read = [history[-LONGEST:] for history in self.histories]
        self.users = random_users(rng, [count for count, _ in drawn], WIDTH)
        self.interests = padded_interests(self.users, rng)
        self.items = rng.normal(size=(N_ITEMS, WIDTH))
        self.targets = rng.integers(0, N_ITEMS, len(drawn)).tolist()
        self.gain = float(rng.normal() * 2)
        self.packed = pad_lists(self.histories, LONGEST)

    def table(self) -> SeenTable:
        return SeenTable.of(self.packed, torch.tensor(self.gain, dtype=torch.float64))


@SETTINGS
@given(seed=SEEDS, drawn=USERS, sizes=st.sampled_from(BLOCKS), left=st.integers(0, 5))
def test_full_softmax_equals_the_paper(seed, drawn, sizes, left):
    """Over all users, and over only those that count."""
    case = Case(seed, drawn)
    counted = torch.arange(len(drawn)) != left
    for chosen in (None, counted if counted.any() else None):
        with pytest.MonkeyPatch.context() as patch:
            set_blocks(patch, sizes)
            found = max_interest_cross_entropy(
                case.interests,
                torch.tensor(case.items),
                torch.tensor(case.targets),
                seen=case.table(),
                counted=chosen,
            )
        own = range(len(drawn)) if chosen is None else torch.nonzero(chosen).flatten().tolist()
        expected = eq23_full(
            [case.users[user] for user in own],
            [case.targets[user] for user in own],
            list(case.items),
            [case.read[user] for user in own],
            case.gain,
        )
        np.testing.assert_allclose(found, expected, **TOLERANCE)


@pytest.mark.parametrize("sizes", BLOCKS)
def test_gradcheck_with_places_without_an_interest(sizes, monkeypatch):
    set_blocks(monkeypatch, sizes)
    case = Case(3, [(1, [0, 1]), (5, [2, 2]), (2, [3])])
    counted = torch.tensor([True, False, True])
    active = case.interests.active
    assert active is not None

    def loss(vectors, items, gain):
        return max_interest_cross_entropy(
            case.interests.replace_vectors(vectors),
            items,
            torch.tensor(case.targets),
            scale=0.7,
            seen=SeenTable.of(case.packed, gain),
            counted=counted,
        )

    learned = (
        torch.where(active.unsqueeze(1), case.interests.vectors, 1.0).requires_grad_(),
        torch.tensor(case.items).requires_grad_(),
        torch.tensor(0.4, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(loss, learned)
    slopes, _, _ = torch.autograd.grad(loss(*learned), learned)
    assert not slopes[~active].any()
    assert not slopes.view(3, PLACES, WIDTH)[1].any()


@SETTINGS
@given(seed=SEEDS, drawn=USERS)
def test_the_walk_sees_active_interests_only(seed, drawn):
    case = Case(seed, drawn)
    scores, items = best_items(case.interests, torch.tensor(case.items), N_ITEMS, case.table())
    for user, (own, order) in enumerate(zip(scores, items, strict=True)):
        expected = [
            eq17_score(case.users[user], case.items[item]) + case.gain * (item in case.read[user])
            for item in order.tolist()
        ]
        np.testing.assert_allclose(own, expected, **TOLERANCE)
        assert sorted(order.tolist()) == list(range(N_ITEMS))


def gains(seen: Seen | SeenTable, users: int, candidates: int) -> torch.Tensor:
    scores = torch.zeros(users, candidates, dtype=torch.float64)
    seen.add_to(scores)
    return scores


def both(histories: list[list[int]]) -> tuple[Packed, Packed]:
    return pack_lists(histories, LONGEST), pad_lists(histories, LONGEST)


@SETTINGS
@given(
    histories=st.lists(
        st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=6), min_size=1, max_size=5
    ),
    chosen=st.none() | st.sets(st.integers(0, N_ITEMS - 1), min_size=1),
    out=st.booleans(),
)
def test_a_table_says_what_pairs_say(histories, chosen, out):
    """For histories and for each of their tokens; a gain of minus infinity leaves items out."""
    packed, padded = both(histories)
    gain = torch.tensor(-torch.inf if out else 1.5, dtype=torch.float64)
    candidates = None if chosen is None else torch.tensor(sorted(chosen))
    n = N_ITEMS if candidates is None else len(candidates)
    interests = Interests.single(torch.zeros(len(histories), 1))
    pairs = Seen.of(interests, packed, gain, candidates)
    table = SeenTable.of(padded, gain, candidates)
    back = packed.order.argsort()
    assert torch.equal(gains(table, len(histories), n), gains(pairs, len(histories), n)[back])
    asked = torch.arange(n).expand(len(histories), -1)
    assert torch.equal(table.holds(asked, n), pairs.holds(asked, n)[back])
    pairs = Seen.of_every_token(packed, gain, candidates)
    table = SeenTable.of_every_token(padded, gain, candidates)
    of_tokens = gains(table, padded.n_tokens, n)[padded.valid]
    expected = gains(pairs, packed.n_tokens, n)
    own = packed.history_of_token()
    assert torch.equal(of_tokens, torch.cat([expected[own == place] for place in back]))


@SETTINGS
@given(
    histories=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=5),
    chosen=st.none() | st.sets(st.integers(0, 3), min_size=1),
    seed=SEEDS,
)
def test_a_table_of_masked_tokens_says_what_pairs_say(histories, chosen, seed):
    """A masked token is never seen, even if its item occurs again."""
    packed, padded = both(histories)
    gain = torch.tensor(1.5, dtype=torch.float64)
    candidates = None if chosen is None else torch.tensor(sorted(chosen))
    n = 4 if candidates is None else len(candidates)
    draws = torch.rand(len(histories), LONGEST, generator=torch.Generator().manual_seed(seed))
    draws[0, -1] = 0.0  # mask at least one item, as a whole batch does
    one, other = (
        draws[each.order[each.history_of_token()], each.positions] < 0.5
        for each in (packed, padded)
    )
    pairs = Seen.of_masked_tokens(packed, one, gain, candidates)
    table = SeenTable.of_every_token(padded, gain, candidates, other)
    expected = torch.zeros(packed.n_tokens, n, dtype=torch.float64)
    expected[one] = gains(pairs, int(one.sum()), n)
    own, back = packed.history_of_token(), packed.order.argsort()
    expected = torch.cat([expected[own == place] for place in back])
    found = gains(table, padded.n_tokens, n)[padded.valid]
    masked = other[padded.valid]
    assert torch.equal(found[masked], expected[masked])


def test_where_interests_lie():
    interests = Interests(
        torch.arange(6.0).view(6, 1),
        torch.tensor([4, 7, 0, 2, 4, 7]),
        torch.arange(2),
        ((3, 2),),
        torch.tensor([True, True, False, True, True, True]),
    )
    assert interests.counts().tolist() == [2, 3]
    assert interests.used().tolist() == [4, 7, 2, 4, 7]
    rows = interests.rows_of(torch.tensor([1, 0, 1]), torch.tensor([7, 4, 2]))
    assert rows.tolist() == [5, 0, 3]
