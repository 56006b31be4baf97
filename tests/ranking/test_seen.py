"""The gain of items that the history holds, against the float64 reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.data.packed import pack_lists
from miracle_core.ranking.repeats import Repeats
from miracle_core.ranking.walk import best_items
from miracle_core.ranking.loss import max_interest_cross_entropy
from tests.systems.miracle.support import SEEDS, SETTINGS, TOLERANCE, interests_of, random_users
from tests.ranking.test_loss import BLOCKS, WIDTH, set_blocks
from tests.reference.scoring import eq16_in_batch, eq23_full, score

N_ITEMS, LONGEST = 7, 4
USERS = st.lists(
    st.tuples(st.integers(1, 5), st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=6)),
    min_size=1,
    max_size=6,
)


class Case:
    """Random interests and items, and what each user has had."""

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
        # As the model has it: interests name packed histories, and these the caller's.
        back = self.packed.order.argsort()
        self.interests = replace(interests, users=back[interests.users])
        self.callers = self.packed.order[self.interests.users]

    def repeats(self, candidates: torch.Tensor | None = None) -> Repeats:
        gain = torch.tensor(self.gain, dtype=torch.float64)
        return Repeats.of(self.interests, self.packed, gain, candidates)


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
            repeats=case.repeats(),
        )
    expected = eq23_full(case.users, case.targets, list(case.items), case.read, case.gain)
    np.testing.assert_allclose(found, expected, **TOLERANCE)


@SETTINGS
@given(seed=SEEDS, drawn=USERS, sizes=st.sampled_from(BLOCKS))
def test_in_batch_softmax_with_a_gain(seed, drawn, sizes):
    """Only items of the history that are candidates of the batch count, own targets too."""
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
            repeats=case.repeats(torch.tensor(distinct)),
        )
    xs = [case.items[target] for target in case.targets]
    expected = eq16_in_batch(case.users, case.targets, xs, case.read, case.gain)
    np.testing.assert_allclose(found * len(case.users), expected, **TOLERANCE)


@SETTINGS
@given(seed=SEEDS, drawn=USERS, k=st.integers(1, N_ITEMS))
def test_the_best_items_are_those_of_plain_sorting(seed, drawn, k):
    case = Case(seed, drawn)
    scores, items = best_items(case.interests, torch.tensor(case.items), k, case.repeats())
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
    pairs = case.repeats()

    def loss(vectors, items, gain):
        return max_interest_cross_entropy(
            replace(case.interests, vectors=vectors),
            items,
            torch.tensor(case.targets)[case.callers],
            scale=scale,
            repeats=replace(pairs, gain=gain),
        )

    inputs = (case.interests.vectors, torch.tensor(case.items), pairs.gain)
    assert torch.autograd.gradcheck(loss, [each.clone().requires_grad_() for each in inputs])


def test_an_item_had_twice_gains_once():
    case = Case(0, [(2, [3, 3, 3])])
    repeats = case.repeats()
    assert (repeats.users.tolist(), repeats.items.tolist()) == ([0], [3])


def test_a_history_of_no_candidate_gains_nothing():
    case = Case(0, [(2, [3, 4]), (1, [0])])
    repeats = case.repeats(torch.tensor([1, 5]))
    assert not repeats.users.numel() and not repeats.items.numel()
    scores = torch.zeros(2, 2)
    repeats.add_to(scores)
    assert not scores.any()
