"""The base of left-to-right systems: what each item predicts, and from which items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from miracle_core.config import make_settings
from miracle_core.data.packed import Packed, pack_lists
from miracle_core.processes import ALONE
from miracle_core.ranking.seen import Seen
from miracle_core.runs.opening import build_system
from miracle_core.systems.base import Batch, ItemSide, Sizes
from miracle_core.systems.sequence import SequenceSystem
from tests.reference.scoring import eq23_full
from tests.systems.miracle.support import SETTINGS, TOLERANCE, per_history, randomise

N_ITEMS, LONGEST = 7, 4
HISTORIES = st.lists(
    st.lists(st.integers(0, N_ITEMS - 1), min_size=2, max_size=7), min_size=1, max_size=6
)


def batch_of(sequences: list[list[int]], **more: Any) -> Batch:
    """Windows: all items but the last are read, and the last is the target."""
    packed = pack_lists([own[:-1] for own in sequences], LONGEST)
    targets = torch.tensor([own[-1] for own in sequences])[packed.order]
    return Batch(packed, targets, packed.order, (1, 1), **more)


@SETTINGS
@given(sequences=HISTORIES)
def test_following_is_the_next_item_of_the_same_history(sequences):
    batch = batch_of(sequences)
    found = per_history(batch.packed, batch.following())
    for own, after in zip(sequences, found, strict=True):
        assert after.tolist() == own[1:][-LONGEST:]


@SETTINGS
@given(sequences=HISTORIES)
def test_places_count_from_the_oldest_item_read(sequences):
    packed = batch_of(sequences).packed
    for own in per_history(packed, packed.places()):
        assert own.tolist() == list(range(len(own)))


@SETTINGS
@given(
    sequences=HISTORIES,
    candidates=st.none() | st.sets(st.integers(0, N_ITEMS - 1), min_size=1),
)
def test_a_token_has_seen_itself_and_what_came_before(sequences, candidates):
    packed = batch_of(sequences).packed
    rows = None if candidates is None else torch.tensor(sorted(candidates))
    found = Seen.of_every_token(packed, torch.tensor(1.5), rows)
    names = list(range(N_ITEMS)) if candidates is None else sorted(candidates)
    expected, start = [], 0
    for length in packed.lengths().tolist():
        own = packed.items[start : start + length].tolist()
        for place in range(length):
            had = {names.index(item) for item in own[: place + 1] if item in names}
            expected += [(start + place, item) for item in sorted(had)]
        start += length
    assert list(zip(found.users.tolist(), found.items.tolist(), strict=True)) == expected
    assert found.gain == 1.5
    counts = np.bincount([user for user, _ in expected], minlength=packed.n_tokens)
    assert found.before == [0, *np.cumsum(counts).tolist()]


class Sums(SequenceSystem):
    """A system whose state is the sum of the items read so far."""

    max_length = LONGEST
    temperature = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.item = torch.nn.Parameter(torch.zeros(N_ITEMS, 3))
        self.learn_gain()

    def inputs(self, items: ItemSide) -> Tensor:
        return self.item

    def hidden(self, tokens: Tensor, packed: Packed) -> Tensor:
        parts = []
        for part, (length, count) in zip(
            tokens.split(packed.token_counts), packed.groups, strict=True
        ):
            parts.append(part.view(count, length, -1).cumsum(1).flatten(0, 1))
        return torch.cat(parts)


@SETTINGS
@given(sequences=HISTORIES)
def test_the_loss_is_the_mean_over_all_items_read(sequences):
    """Each item gets the gain of what it could see, and of nothing later."""
    system = randomise(Sums(), 1)
    found = system.objective(ItemSide(), batch_of(sequences), ALONE)
    items = system.item.detach().numpy()
    gain = float(system.gain().detach()) / 0.5
    losses = []
    for own in sequences:
        read = own[:-1][-LONGEST:]
        for place, target in enumerate(own[1:][-LONGEST:]):
            before = read[: place + 1]
            user = {0: sum(items[item] for item in before) / 0.5}
            losses.append(eq23_full([user], [target], list(items), [before], gain))
    np.testing.assert_allclose(found.total.detach(), np.mean(losses), **TOLERANCE)


def test_the_newest_state_ranks():
    system = randomise(Sums(), 1)
    packed = pack_lists([[1, 2, 3], [4]], LONGEST)
    found = system.encode(system.item[packed.items], packed).interests
    expected = torch.stack([system.item[4], system.item[[1, 2, 3]].sum(0)])
    torch.testing.assert_close(found.vectors, expected)


@pytest.mark.parametrize("kind", ["sasrec", "gru4rec", "bert4rec"])
@pytest.mark.parametrize("loss", ["softmax", "gbce"])
def test_gradients_reach_every_weight_of_a_system(kind, loss):
    settings = make_settings(
        {"model": {"kind": kind}, "loss": {"recommendation": loss, "negatives": 3}}
    )
    system = randomise(build_system(settings, Sizes(N_ITEMS)), 1)
    # One history is long enough to use every position; windows shorter than N do not.
    long = [np.random.default_rng(0).integers(0, N_ITEMS, 21).tolist(), [1, 2], [3, 4, 5, 6]]
    packed = pack_lists([own[:-1] for own in long], system.max_length)
    targets = torch.tensor([own[-1] for own in long])[packed.order]
    batch = Batch(packed, targets, packed.order, (1, 1))
    system.objective(ItemSide(), batch, ALONE).total.backward()
    for name, weight in system.named_parameters():
        assert weight.grad is not None, name
        assert float(weight.grad.abs().max()) > 0, name


@pytest.mark.parametrize("kind", ["sasrec", "gru4rec", "bert4rec"])
def test_what_the_score_loses_without_each_item(kind):
    """By hand: query the system again without each item of the history."""
    settings = make_settings({"model": {"kind": kind, "max_length": 5}})
    system = randomise(build_system(settings, Sizes(N_ITEMS)), 4)
    scorer = system.scorer(ItemSide())
    history = [2, 0, 5, 2]

    def score(items: list[int]) -> Tensor:
        (_, found), *_ = scorer.scores(pack_lists([items], 5)).chunks
        return found[0]

    with torch.inference_mode():
        explained = scorer.explain(history)
        rows = torch.tensor([6, 1])
        found = explained.contributions(rows, torch.zeros(2, dtype=torch.int64))
        assert not explained.additive
        for place in range(4):
            left = history[:place] + history[place + 1 :]
            torch.testing.assert_close(found[place], (score(history) - score(left))[rows])
        # Without its only item, a history is empty: the item contributes the whole score.
        one = scorer.explain([3]).contributions(rows, torch.zeros(2, dtype=torch.int64))
        torch.testing.assert_close(one, score([3])[rows].unsqueeze(0))
