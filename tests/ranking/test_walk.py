"""Ranks and top-K against sorted lists. Scores are whole numbers, so ties are exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.errors import MiracleError
from miracle_core.ranking import walk as walk_module
from miracle_core.ranking.order import ranks, tie_order, top_k
from miracle_core.ranking.seen import Seen
from miracle_core.ranking.walk import best_items, inner_products, walk
from tests.reference.metrics import rank_of, ranking
from tests.reference.scoring import eq17_score
from tests.systems.miracle.support import SEEDS, SETTINGS, interests_of

SHAPES = [(1 << 24, 1 << 22, 16), (20, 7, 1), (1, 1, 1)]


def whole_numbers(seed: int, counts: list[int], n_items: int, spread: int = 2):
    rng = np.random.default_rng(seed)
    users = [
        {int(j): rng.integers(-spread, spread + 1, 3).astype(float) for j in range(count)}
        for count in counts
    ]
    return users, rng.integers(-spread, spread + 1, (n_items, 3)).astype(float)


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 5, 16, 17])
def test_inner_products(rows):
    """From the left and from the right, into new and into existing memory."""
    generator = torch.Generator().manual_seed(rows)
    vectors, items = (
        torch.randn(n, 5, dtype=torch.float64, generator=generator) for n in (rows, 9)
    )
    room = torch.full(((rows + walk_module.FEW_STEP) * 9 + 1,), torch.nan, dtype=torch.float64)
    for found in (inner_products(vectors, items), inner_products(vectors, items, room)):
        torch.testing.assert_close(found, vectors @ items.T, rtol=1e-12, atol=1e-12)


@SETTINGS
@given(
    seed=SEEDS,
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    n_items=st.integers(1, 12),
    shape=st.sampled_from(SHAPES),
    k=st.integers(1, 12),
    few=st.sampled_from([0, 16]),
)
def test_equals_plain_sorting(seed, counts, n_items, shape, k, few):
    users, items = whole_numbers(seed, counts, n_items)
    targets = np.random.default_rng(seed).integers(0, n_items, len(users)).tolist()
    interests = interests_of(users)
    order = interests.users.tolist()
    ties = tie_order(n_items)
    k = min(k, n_items)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(("CHUNK_ELEMENTS", "BLOCK_ELEMENTS", "MIN_ROWS"), shape, strict=True):
            patch.setattr(walk_module, name, size)
        patch.setattr(walk_module, "FEW_ROWS", few)
        for part in walk(interests, torch.tensor(items), each=True):
            own, scores = order[part.users], part.scores
            vectors = [vector for i in own for _, vector in sorted(users[i].items())]
            assert part.each.tolist() == [[float(u @ x) for x in items] for u in vectors]
            expected = [[eq17_score(users[i], x) for x in items] for i in own]
            assert scores.tolist() == expected
            found = ranks(scores, torch.tensor([targets[i] for i in own]), ties)
            key = ties.tolist()
            assert found.tolist() == [
                rank_of(row, targets[i], key) for i, row in zip(own, expected, strict=True)
            ]
            values, best = top_k(scores, k, ties)
            for row, wanted, value in zip(best.tolist(), expected, values.tolist(), strict=True):
                assert row == ranking(wanted, key)[:k]
                assert value == [wanted[item] for item in row]
            seen += own
    assert seen == order


@SETTINGS
@given(
    seed=SEEDS,
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=6),
    n_items=st.integers(1, 12),
    shape=st.sampled_from(SHAPES),
    gain=st.sampled_from([None, -3.0, 2.0]),
    leave_out=st.booleans(),
)
def test_seen_rules_reach_their_users_in_every_chunk(seed, counts, n_items, shape, gain, leave_out):
    """Both rules at once; the scores under each interest stay unchanged."""
    users, items = whole_numbers(seed, counts, n_items)
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, 6, len(users)).cumsum()
    starts = np.concatenate([[0], ends[:-1]])
    sequences = rng.integers(0, n_items, ends[-1]).astype(np.int32)
    interests = interests_of(users)
    order = interests.users.tolist()
    whole = Seen.left_out(sequences, starts, ends).ordered(interests.users)
    number = None if gain is None else torch.tensor(gain, dtype=torch.float64)
    learned = None if number is None else replace(whole, gain=number)
    done = []
    with pytest.MonkeyPatch.context() as patch:
        for name, size in zip(("CHUNK_ELEMENTS", "BLOCK_ELEMENTS", "MIN_ROWS"), shape, strict=True):
            patch.setattr(walk_module, name, size)
        rules = (learned, whole if leave_out else None)
        parts = list(walk(interests, torch.tensor(items), *rules, each=True))
    for part in parts:
        own = order[part.users]
        vectors = [vector for i in own for _, vector in sorted(users[i].items())]
        assert part.each.tolist() == [[float(u @ x) for x in items] for u in vectors]
        expected = np.array([[eq17_score(users[i], x) for x in items] for i in own])
        for row, i in zip(expected, own, strict=True):
            had = sorted(set(sequences[starts[i] : ends[i]].tolist()))
            row[had] += 0.0 if gain is None else gain
            row[had] = -np.inf if leave_out else row[had]
        assert part.scores.tolist() == expected.tolist()
        done += own
    assert done == order


@SETTINGS
@given(
    seed=SEEDS,
    counts=st.lists(st.integers(1, 1), min_size=1, max_size=9)
    | st.lists(st.integers(1, 2), min_size=1, max_size=9),
    n_items=st.integers(1, 12),
    cached=st.sampled_from([1 << 20, 30, 1]),
    block=st.sampled_from([1 << 21, 7, 1]),
    few=st.sampled_from([0, 2]),
    boosted=st.booleans(),
)
def test_products_of_one_interest_are_written_as_scores(
    seed, counts, n_items, cached, block, few, boosted
):
    """Chunks of users, blocks of items, and rules; some batches have users of two interests."""
    users, items = whole_numbers(seed, counts, n_items)
    interests = interests_of(users)
    order = interests.users.tolist()
    added = torch.arange(len(interests.vectors)).double() if boosted else None
    interests = replace(interests, added=added)
    places = {}
    row = 0
    for count, n in interests.groups:
        for _ in range(n):
            places[order[len(places)]] = slice(row, row + count)
            row += count
    starts = np.arange(len(users))
    sequences = np.random.default_rng(seed).integers(0, n_items, len(users)).astype(np.int32)
    seen = Seen.left_out(sequences, starts, starts + 1).ordered(interests.users)
    done = []
    with pytest.MonkeyPatch.context() as patch:
        sizes = {"CACHED_ELEMENTS": cached, "CACHED_MIN_ROWS": 1, "BLOCK_ELEMENTS": block}
        for name, size in (sizes | {"FEW_ROWS": few}).items():
            patch.setattr(walk_module, name, size)
        for part in walk(interests, torch.tensor(items), seen):
            own = order[part.users]
            assert part.each is None
            expected = []
            for i in own:
                scores = interests.vectors[places[i]].numpy() @ items.T
                if added is not None:
                    scores = scores + added[places[i]].numpy()[:, None]
                expected.append(scores.max(0))
            expected = np.array(expected)
            for row, i in zip(expected, own, strict=True):
                row[sequences[i]] = -np.inf
            assert part.scores.tolist() == expected.tolist()
            done += own
    assert done == order


def test_items_left_out_come_last_among_the_best():
    interests = interests_of([{0: np.array([1.0])}])
    items = torch.tensor([[3.0], [2.0], [1.0]], dtype=torch.float64)
    seen = Seen.left_out(np.array([0, 1, 0]), np.array([0]), np.array([3]))
    scores, best = best_items(interests, items, 2, seen)
    assert best[0, 0] == 2
    assert scores[0].tolist() == [1.0, -np.inf]


def test_tie_order_is_a_fixed_shuffle():
    for n in (1, 2, 1000):
        assert sorted(tie_order(n).tolist()) == list(range(n))
    assert torch.equal(tie_order(50), tie_order(50))
    order = tie_order(1000).double()
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1


def test_a_constant_scorer_ranks_as_chance():
    n_items = 500
    targets = torch.arange(n_items)
    found = ranks(torch.zeros(n_items, n_items), targets, tie_order(n_items))
    assert sorted(found.tolist()) == list(range(1, n_items + 1))
    # Popular items often have low or high indices. Neither must be favoured.
    for some in (found[:100], found[-100:]):
        assert abs(some.double().mean() - 250) < 60


def test_numbers_that_are_not_finite_are_refused():
    users, items = whole_numbers(0, [1, 2], 4)
    items[2, 1] = np.nan
    with pytest.raises(MiracleError, match="items"):
        list(walk(interests_of(users), torch.tensor(items)))
    users, items = whole_numbers(0, [1, 2], 4)
    users[1][0][0] = np.inf
    with pytest.raises(MiracleError, match="interests"):
        list(walk(interests_of(users), torch.tensor(items)))


def test_finite_numbers_whose_sum_overflows_are_not_refused():
    interests = interests_of([{0: np.zeros(3)}]).replace_vectors(torch.zeros(1, 3))
    assert len(list(walk(interests, torch.full((4, 3), 3e38)))) == 1


@pytest.mark.parametrize("kind", ["distinct", "few values", "constant", "ties at the edge"])
@pytest.mark.parametrize("n_items", [64 * 40, 64 * 40 + 1, 64 * 50 + 63])
def test_long_rows_are_searched_by_stretches_to_the_same_end(kind, n_items):
    generator = np.random.default_rng(n_items)
    scores = generator.random((5, n_items)).astype(np.float32)
    if kind == "few values":
        scores = np.round(scores, 2)
    elif kind == "constant":
        scores[:] = 1.0
    elif kind == "ties at the edge":
        scores[:, generator.permutation(n_items)[:300]] = 2.0
    ties, k = tie_order(n_items), 10
    values, best = top_k(torch.from_numpy(scores), k, ties)
    for row, own, value in zip(scores.tolist(), best.tolist(), values.tolist(), strict=True):
        assert own == ranking(row, ties.tolist())[:k]
        assert value == [row[item] for item in own]
