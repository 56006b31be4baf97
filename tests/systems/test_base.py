"""What all systems share: the next items, the rows of a sequence and the learned gain."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from miracle_core.data.packed import Packed, pack_lists
from miracle_core.processes import Processes
from miracle_core.systems.base import GAIN_SCALE, Batch, ItemSide, Sizes, System
from miracle_core.systems.sequence import SequenceSystem
from tests.reference.scoring import eq23_full
from tests.systems.miracle.support import SEEDS, SETTINGS, TOLERANCE

N_ITEMS, LONGEST, WIDTH = 7, 4, 3
LENGTHS = st.lists(st.integers(1, LONGEST + 2), min_size=1, max_size=6)


def sequences(rng: np.random.Generator, lengths: list[int]) -> tuple[list[list[int]], Batch]:
    """Histories as they are read, each with its target last, and the batch of them."""
    whole = [rng.integers(0, N_ITEMS, length + 1).tolist() for length in lengths]
    packed = pack_lists([each[:-1] for each in whole], LONGEST)
    targets = torch.tensor([each[-1] for each in whole])[packed.order]
    read = [each[-LONGEST - 1 :] for each in whole]
    return read, Batch(packed, targets, packed.order)


@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS)
def test_after_each_item_comes_the_next_and_then_the_target(seed: int, lengths: list[int]) -> None:
    read, batch = sequences(np.random.default_rng(seed), lengths)
    items = batch.packed.items.clone()
    expected = [item for user in batch.packed.order.tolist() for item in read[user][1:]]
    assert batch.following().tolist() == expected
    assert torch.equal(batch.packed.items, items)  # the input is not changed


class Sums(SequenceSystem):
    """A system whose state is the sum of the items so far."""

    max_length = LONGEST

    def __init__(self, gain: float | None) -> None:
        super().__init__()
        self.items = nn.Parameter(torch.randn(N_ITEMS, WIDTH, dtype=torch.float64))
        if gain is not None:
            self.learn_gain()
            assert self.repeat is not None
            self.repeat.data = torch.tensor(gain / GAIN_SCALE, dtype=torch.float64)

    def inputs(self, items: ItemSide) -> Tensor:
        return self.items

    def hidden(self, tokens: Tensor, packed: Packed) -> Tensor:
        rows = [torch.cumsum(tokens[list(places)], 0) for places in tokens_of(packed)]
        return torch.cat(rows)


def tokens_of(packed: Packed) -> list[range]:
    """The tokens of each packed history."""
    ends = np.cumsum(packed.lengths().tolist()).tolist()
    return [range(end - n, end) for end, n in zip(ends, packed.lengths().tolist(), strict=True)]


@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, gain=st.sampled_from([None, 1.5, -2.0]))
def test_every_item_of_a_sequence_is_predicted_from_what_came_before(
    seed: int, lengths: list[int], gain: float | None
) -> None:
    torch.manual_seed(seed)
    system = Sums(gain)
    read, batch = sequences(np.random.default_rng(seed), lengths)
    vectors = system.items.detach().numpy()
    users, targets, before = [], [], []
    for sequence in read:
        for place in range(1, len(sequence)):
            users.append({0: vectors[sequence[:place]].sum(0)})
            targets.append(sequence[place])
            before.append(sequence[:place])
    found = system.objective(ItemSide(), batch, Processes())
    expected = eq23_full(users, targets, list(vectors), before, 0.0 if gain is None else gain)
    np.testing.assert_allclose(found.total.item(), expected, **TOLERANCE)
    assert list(found.terms) == ["recommendation"]
    # Only the newest state ranks a history.
    encoded = system.encode(system.items[batch.packed.items], batch.packed)
    newest = [vectors[read[user][:-1]].sum(0) for user in batch.packed.order.tolist()]
    np.testing.assert_allclose(encoded.interests.vectors.detach(), newest, **TOLERANCE)


@pytest.mark.parametrize("method", ["inputs", "encode", "pretrain_objective", "fit"])
def test_what_a_system_lacks_is_named(method: str) -> None:
    class Empty(System):
        pass

    nothing = SimpleNamespace()
    given = {"inputs": 1, "encode": 2, "pretrain_objective": 3, "fit": 2}[method]
    system = Empty.build(nothing, Sizes())  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match=f"Empty.{method}"):
        getattr(system, method)(*[nothing] * given)


def test_the_gain_is_none_until_it_is_learned() -> None:
    assert Sums(None).gain() is None
    assert [name for name, _ in Sums(None).named_parameters()] == ["items"]
    system = Sums(0.5)
    for temperature, expected in ((1.0, 0.5), (0.1, 0.05)):  # in units of the temperature
        system.temperature = temperature
        gain = system.gain()
        assert gain is not None
        assert gain.item() == pytest.approx(expected)
