"""Packing keeps every item, its position and its history."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.data.packed import pack, pack_lists, pad_lists
from tests.systems.miracle.support import SETTINGS, per_history

HISTORIES = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=7), min_size=1, max_size=8)


@SETTINGS
@given(histories=HISTORIES, max_length=st.integers(1, 8))
def test_the_newest_items_of_every_history_at_their_places(histories, max_length):
    packed = pack_lists(histories, max_length)
    kept = [history[-max_length:] for history in histories]
    assert [row.tolist() for row in per_history(packed, packed.items)] == kept
    for own, row in zip(per_history(packed, packed.positions), kept, strict=True):
        assert own.tolist() == list(range(max_length - len(row), max_length))
    lengths = [length for length, _ in packed.groups]
    assert lengths == sorted(set(lengths))
    assert packed.n_histories == len(histories)
    assert packed.n_tokens == sum(map(len, kept)) == sum(packed.token_counts)
    owners = packed.order[packed.history_of_token()]
    for user, row in enumerate(kept):
        assert packed.items[owners == user].tolist() == row


@SETTINGS
@given(histories=HISTORIES, max_length=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_what_is_kept_of_every_history(histories, max_length, seed):
    """The result is as if the histories had never had the other items."""
    packed = pack_lists(histories, max_length)
    rng = np.random.default_rng(seed)
    stays = [rng.random(min(len(own), max_length)) < 0.5 for own in histories]
    for own in stays:
        own[rng.integers(len(own))] = True
    kept = torch.from_numpy(np.concatenate([stays[caller] for caller in packed.order.tolist()]))
    less, places = packed.keep(kept)
    rest = [
        [item for item, stay in zip(own[-max_length:], stay_own, strict=True) if stay]
        for own, stay_own in zip(histories, stays, strict=True)
    ]
    assert [row.tolist() for row in per_history(less, less.items)] == rest
    assert torch.equal(packed.items[places], less.items)
    fresh = pack_lists(rest, max_length)
    assert less.groups == fresh.groups
    assert torch.equal(less.positions, fresh.positions)
    owners = packed.order[packed.history_of_token()][places]
    assert torch.equal(owners, less.order[less.history_of_token()])


def test_slices_of_one_array_may_overlap_and_leave_gaps():
    sequences = np.arange(100, 120, dtype=np.int32)
    packed = pack(sequences, np.array([0, 5, 4]), np.array([4, 6, 10]), max_length=3)
    assert [row.tolist() for row in per_history(packed, packed.items)] == [
        [101, 102, 103],
        [105],
        [107, 108, 109],
    ]
    assert packed.items.dtype == torch.int64


def test_histories_of_one_length_keep_their_order():
    packed = pack_lists([[1, 2], [3], [4, 5], [6]], 5)
    assert packed.order.tolist() == [1, 3, 0, 2]
    assert packed.groups == ((1, 2), (2, 2))


def test_an_empty_history_is_refused():
    with pytest.raises(ValueError, match="history 1 of the batch is empty"):
        pack_lists([[1], [], [2]], 5)


@SETTINGS
@given(histories=HISTORIES, max_length=st.integers(1, 8))
def test_one_more_item_is_the_newest_and_moves_no_other(histories, max_length):
    packed = pack_lists(histories, max_length)
    more = torch.arange(100, 100 + len(histories))[packed.order]
    longer, source = packed.appended(more)
    expected = pack_lists(
        [[*history[-max_length:], 100 + user] for user, history in enumerate(histories)],
        max_length + 1,
    )
    assert longer.groups == expected.groups
    for name in ("items", "positions", "order"):
        assert torch.equal(getattr(longer, name), getattr(expected, name)), name
    assert torch.equal(torch.cat([packed.items, more])[source], longer.items)


@SETTINGS
@given(histories=HISTORIES, max_length=st.integers(1, 8))
def test_padded_histories_keep_the_newest_items_at_their_places(histories, max_length):
    padded = pad_lists(histories, max_length)
    kept = [history[-max_length:] for history in histories]
    assert padded.valid is not None
    assert padded.groups == ((max_length, len(histories)),)
    assert padded.order.tolist() == list(range(len(histories)))
    rows = padded.items.view(-1, max_length)
    valid = padded.valid.view_as(rows)
    for own, there, row in zip(rows, valid, kept, strict=True):
        missing = max_length - len(row)
        assert there.tolist() == [False] * missing + [True] * len(row)
        assert own[missing:].tolist() == row
        assert set(own[:missing].tolist()) <= {row[-1]}
    assert padded.positions.tolist() == list(range(max_length)) * len(histories)


@SETTINGS
@given(histories=HISTORIES, max_length=st.integers(1, 8))
def test_what_is_asked_of_items_is_the_same_in_both_layouts(histories, max_length):
    packed, padded = pack_lists(histories, max_length), pad_lists(histories, max_length)
    back = packed.order.argsort()
    assert padded.lengths().tolist() == packed.lengths()[back].tolist()
    newest = packed.items[packed.last_tokens()][back]
    assert padded.items[padded.last_tokens()].tolist() == newest.tolist()
    assert int(padded.n_items()) == packed.n_items() == packed.n_tokens
    assert padded.count(padded.items, 100).tolist() == packed.count(packed.items, 100).tolist()
    numbers = torch.randn(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        padded.mean(numbers[padded.items]), packed.mean(numbers[packed.items])
    )
    for name in ("places", "history_of_token"):
        found, own = getattr(padded, name)()[padded.valid], getattr(packed, name)()
        if name == "history_of_token":
            own = packed.order[own]
        first = torch.cat([own[packed.history_of_token() == place] for place in back])
        assert found.tolist() == first.tolist()
    filled = padded.filled(padded.items.double(), -1.0)
    assert filled[padded.valid].tolist() == padded.items[padded.valid].tolist()
    assert (filled == -1.0).sum() == padded.n_tokens - packed.n_tokens


def of_history(batch, values, caller):
    """The indices of one padded history's items, in order."""
    rows, valid = values.view(batch.n_histories, -1), batch.valid.view(batch.n_histories, -1)
    return rows[caller][valid[caller]].tolist()


@SETTINGS
@given(histories=HISTORIES, max_length=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_some_items_of_padded_histories_are_those_of_packed_ones(histories, max_length, seed):
    """The kept items move to the right; padding is excluded even if it is selected."""
    padded = pad_lists(histories, max_length)
    kept = torch.rand(padded.n_tokens, generator=torch.Generator().manual_seed(seed)) < 0.5
    kept[padded.last_tokens()] = True
    less, places = padded.keep(kept)
    assert (less.groups, less.order.tolist()) == (padded.groups, padded.order.tolist())
    assert torch.equal(padded.items[places], less.items)
    assert torch.equal(padded.positions, less.positions)
    assert torch.equal(padded.history_of_token()[places], less.history_of_token())
    assert torch.equal(less.valid, (kept & padded.valid)[places])
    width = max_length
    for user, history in enumerate(histories):
        own = history[-max_length:]
        stays = kept.view(-1, width)[user, width - len(own) :].tolist()
        rest = [item for item, stay in zip(own, stays, strict=True) if stay]
        assert of_history(less, less.items, user) == rest
        assert of_history(less, less.positions, user) == list(range(width - len(rest), width))


@SETTINGS
@given(histories=HISTORIES, max_length=st.integers(1, 8))
def test_one_more_item_of_padded_histories(histories, max_length):
    padded = pad_lists(histories, max_length)
    more = torch.arange(100, 100 + len(histories))
    longer, source = padded.appended(more)
    with_it = [[*history[-max_length:], 100 + user] for user, history in enumerate(histories)]
    expected = pad_lists(with_it, max_length + 1)
    assert longer.groups == expected.groups
    for name in ("positions", "order", "valid"):
        assert torch.equal(getattr(longer, name), getattr(expected, name)), name
    assert torch.equal(longer.items[longer.valid], expected.items[expected.valid])
    assert torch.equal(torch.cat([padded.items, more])[source], longer.items)


def test_rows_of_chosen_items_are_theirs_alone_or_all_and_which_count():
    histories = [[1], [2, 3], [4, 5, 6]]
    packed, padded = pack_lists(histories, 3), pad_lists(histories, 3)
    odd = packed.items % 2 == 1
    assert packed.some(packed.items, odd).tolist() == [1, 3, 5]
    assert packed.counted(odd) is None
    odd = padded.items % 2 == 1
    assert padded.some(padded.items, odd) is padded.items
    assert padded.items[padded.counted(odd)].tolist() == [1, 3, 5]


def test_an_empty_padded_history_is_refused_and_some_can_be_taken_out():
    with pytest.raises(ValueError, match="history 1 of the batch is empty"):
        pad_lists([[1], [], [2]], 5)
    padded = pad_lists([[1], [2, 3], [4, 5, 6], [7]], 2)
    some, tokens = padded.select(torch.tensor([False, True, False, True]))
    alone = pad_lists([[2, 3], [7]], 2)
    assert some.groups == alone.groups == ((2, 2),)
    assert some.order.tolist() == [1, 3]
    assert tokens.tolist() == [2, 3, 6, 7]
    for name in ("items", "positions", "valid"):
        assert torch.equal(getattr(some, name), getattr(alone, name)), name
