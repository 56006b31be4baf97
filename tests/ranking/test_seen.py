"""The gain of items that are in the history, against the float64 reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.data.packed import pack_lists
from miracle_core.ranking.loss import max_interest_cross_entropy
from miracle_core.ranking.seen import Seen
from miracle_core.ranking.walk import best_items
from tests.ranking.test_loss import BLOCKS, WIDTH, set_blocks
from tests.reference.scoring import eq16_in_batch, eq23_full, score
from tests.systems.miracle.support import SEEDS, SETTINGS, TOLERANCE, interests_of, random_users

N_ITEMS, LONGEST = 7, 4
USERS = st.lists(
    st.tuples(st.integers(1, 5), st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=6)),
    min_size=1,
    max_size=6,
)


class Case:
    """Random interests and items, and each user's history."""

    def __init__(self, seed: int, drawn: list[tuple[int, list[int]]]) -> None:
        rng = np.random.default_rng(seed)
        self.histories = [history for _, history in drawn]
        self.read = [history[-LONGEST:] for history in self.histories]
        self.users = random_users(rng, [count for count, _ in drawn], WIDTH)
        self.items = rng.normal(size=(N_ITEMS, WIDTH))
        self.targets = rng.integers(0, N_ITEMS, len(drawn)).tolist()
        self.gain = float(rng.normal() * 2)
        self.packed = pack_lists(self.histories, LONGEST)
        interests = interests_of(self.users)
        # As in the model: interests refer to packed histories, and those to the caller's.
        back = self.packed.order.argsort()
        self.interests = replace(interests, users=back[interests.users])
        self.callers = self.packed.order[self.interests.users]

    def seen(self, candidates: torch.Tensor | None = None) -> Seen:
        gain = torch.tensor(self.gain, dtype=torch.float64)
        return Seen.of(self.interests, self.packed, gain, candidates)


@SETTINGS
@given(seed=SEEDS, drawn=USERS, sizes=st.sampled_from(BLOCKS))
def test_full_softmax_with_a_gain(seed, drawn, sizes):
    case = Case(seed, drawn)
    with pytest.MonkeyPatch.context() as patch:
        set_blocks(patch, sizes)
        found = max_interest_cross_entropy(
            case.interests,
            torch.tensor(case.items),
            torch.tensor(case.targets)[case.callers],
            seen=case.seen(),
        )
    expected = eq23_full(case.users, case.targets, list(case.items), case.read, case.gain)
    np.testing.assert_allclose(found, expected, **TOLERANCE)


@SETTINGS
@given(seed=SEEDS, drawn=USERS, sizes=st.sampled_from(BLOCKS))
def test_in_batch_softmax_with_a_gain(seed, drawn, sizes):
    """Only history items that are candidates in the batch count, including the user's target."""
    case = Case(seed, drawn)
    distinct, rows, often = np.unique(case.targets, return_inverse=True, return_counts=True)
    with pytest.MonkeyPatch.context() as patch:
        set_blocks(patch, sizes)
        found = max_interest_cross_entropy(
            case.interests,
            torch.tensor(case.items[distinct]),
            torch.tensor(rows)[case.callers],
            item_bias=torch.tensor(np.log(often)),
            target_bias=torch.zeros(len(case.users), dtype=torch.float64),
            seen=case.seen(torch.tensor(distinct)),
        )
    xs = [case.items[target] for target in case.targets]
    expected = eq16_in_batch(case.users, case.targets, xs, case.read, case.gain)
    np.testing.assert_allclose(found * len(case.users), expected, **TOLERANCE)


@SETTINGS
@given(seed=SEEDS, drawn=USERS, k=st.integers(1, N_ITEMS))
def test_the_best_items_are_those_of_plain_sorting(seed, drawn, k):
    case = Case(seed, drawn)
    scores, items = best_items(case.interests, torch.tensor(case.items), k, case.seen())
    for row, caller in enumerate(case.callers.tolist()):
        all_scores = np.array(
            [
                score(case.users[caller], x, item, case.read[caller], case.gain)
                for item, x in enumerate(case.items)
            ]
        )
        np.testing.assert_allclose(scores[row], np.sort(all_scores)[::-1][:k], **TOLERANCE)
        np.testing.assert_allclose(all_scores[items[row]], scores[row], **TOLERANCE)


@pytest.mark.parametrize("sizes", BLOCKS)
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_gradcheck(monkeypatch, sizes, scale):
    set_blocks(monkeypatch, sizes)
    case = Case(3, [(1, [0, 1]), (3, [2, 2, 5]), (2, [6]), (3, [1, 3, 4, 5, 6])])
    pairs = case.seen()

    def loss(vectors, items, gain):
        return max_interest_cross_entropy(
            replace(case.interests, vectors=vectors),
            items,
            torch.tensor(case.targets)[case.callers],
            scale=scale,
            seen=replace(pairs, gain=gain),
        )

    inputs = (case.interests.vectors, torch.tensor(case.items), pairs.gain)
    assert torch.autograd.gradcheck(loss, [each.clone().requires_grad_() for each in inputs])


def test_an_item_had_twice_gains_once():
    case = Case(0, [(2, [3, 3, 3])])
    seen = case.seen()
    assert (seen.users.tolist(), seen.items.tolist()) == ([0], [3])


def test_a_history_of_no_candidate_gains_nothing():
    case = Case(0, [(2, [3, 4]), (1, [0])])
    seen = case.seen(torch.tensor([1, 5]))
    assert not seen.users.numel() and not seen.items.numel()
    scores = torch.zeros(2, 2)
    seen.add_to(scores)
    assert not scores.any()


def histories(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lengths = rng.integers(0, 9, n)  # histories may be empty
    ends = np.cumsum(lengths)
    return rng.integers(0, N_ITEMS, ends[-1]).astype(np.int32), ends - lengths, ends


@SETTINGS
@given(seed=SEEDS, n=st.integers(1, 6))
def test_left_out_are_the_items_of_whole_histories(seed, n):
    """This includes items too old to be read, and works for users in any order."""
    rng = np.random.default_rng(seed)
    sequences, starts, ends = histories(rng, n)
    places = torch.from_numpy(rng.permutation(n))
    table = torch.zeros(n, N_ITEMS)
    Seen.left_out(sequences, starts, ends).ordered(places).add_to(table)
    for row, user in enumerate(places.tolist()):
        had = set(sequences[starts[user] : ends[user]].tolist())
        assert {item for item in range(N_ITEMS) if table[row, item] == -np.inf} == had
        assert all(table[row, item] == 0 for item in range(N_ITEMS) if item not in had)


@SETTINGS
@given(seed=SEEDS, drawn=st.lists(st.integers(1, 5), min_size=1, max_size=6), some=st.booleans())
def test_every_token_has_seen_itself_and_what_came_before(seed, drawn, some):
    rng = np.random.default_rng(seed)
    packed = pack_lists([rng.integers(0, N_ITEMS, length).tolist() for length in drawn], 5)
    candidates = torch.tensor([0, 2, 3]) if some else torch.arange(N_ITEMS)
    gain = torch.tensor(1.0)
    seen = Seen.of_every_token(packed, gain, candidates if some else None)
    table = torch.zeros(packed.n_tokens, len(candidates))
    seen.add_to(table)
    expected = torch.zeros_like(table)
    token = 0
    for length in packed.lengths().tolist():
        for place in range(length):
            had = packed.items[token : token + place + 1]
            expected[token + place] = torch.isin(candidates, had).float()
        token += length
    assert torch.equal(table, expected)
    assert seen.before[-1] == len(seen.users)
