"""BERT4Rec compared with its paper, one sequence at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.config import make_settings
from miracle_core.data.packed import pack_lists
from miracle_core.errors import InputError
from miracle_core.processes import ALONE
from miracle_core.ranking.seen import Seen
from miracle_core.runs.opening import build_system
from miracle_core.systems.base import Batch, ItemSide, Sizes
from miracle_core.systems.bert4rec import system as module
from miracle_core.systems.bert4rec.cloze import draw_masks
from miracle_core.systems.bert4rec.system import Bert4Rec
from tests.reference.basics import gelu, layer_norm
from tests.reference.items import eq6_layer
from tests.reference.scoring import eq23_full
from tests.support.interests import Share
from tests.systems.miracle.support import (
    LENGTHS,
    SEEDS,
    SETTINGS,
    TOLERANCE,
    N,
    batch_of,
    f64,
    histories_of,
    layer_of,
    per_history,
    randomise,
)

N_ITEMS = 9
MASK = -1
SEQUENCES = st.lists(
    st.lists(st.integers(0, N_ITEMS - 1), min_size=2, max_size=N + 3), min_size=1, max_size=6
)


def small(seen: str = "as-printed", **changes: object) -> Bert4Rec:
    own = {"kind": "bert4rec", "width": 6, "inner": 8, "max_length": N, **changes}
    system = build_system(make_settings({"seen": seen, "model": own}), Sizes(N_ITEMS))
    assert isinstance(system, Bert4Rec)
    return system


def reference_told(system: Bert4Rec, sequence: list[int]) -> list[Any]:
    """Eq. 1-7 up to the product with E, at every position of a sequence with MASKs."""
    items, places = f64(system.item), f64(system.position)
    rows = []
    for i, item in enumerate(sequence):
        row = f64(system.mask) if item == MASK else items[item]
        row = row + places[N + 1 - len(sequence) + i]
        rows.append(layer_norm(row, f64(system.norm.weight), f64(system.norm.bias)))
    for layer in system.layers:
        rows = eq6_layer(rows, layer_of(layer), layer.heads)
    W, b = f64(system.output.weight).T, f64(system.output.bias)
    scale, shift = f64(system.output_norm.weight), f64(system.output_norm.bias)
    return [layer_norm(gelu(row @ W + b), scale, shift) for row in rows]


@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, layers=st.integers(1, 2), heads=st.sampled_from([1, 2, 3]))
def test_scores_are_the_papers_at_a_mask_behind_the_history(seed, lengths, layers, heads):
    """Eq. 7 with the output's bias; histories longer than N lose their oldest items."""
    system = randomise(small(layers=layers, heads=heads), seed)
    histories = histories_of([*lengths, N + 2], np.random.default_rng(seed), N_ITEMS)
    packed = pack_lists(histories, N)
    (chunk,) = system.scorer(ItemSide(), gain=False).scores(packed).chunks
    for row, scores in zip(chunk[0].tolist(), chunk[1], strict=True):
        history = histories[int(packed.order[row])][-N:]
        told = reference_told(system, [*history, MASK])[-1]
        expected = f64(system.item) @ told + f64(system.bias)
        np.testing.assert_allclose(scores, expected, **TOLERANCE)


@SETTINGS
@given(seed=SEEDS, sequences=SEQUENCES, seen=st.sampled_from(["as-printed", "gain"]))
def test_the_loss_is_the_mean_over_masked_items(seed, sequences, seen):
    """Eq. 8 with the gain of unmasked earlier items, and of no others."""
    system = randomise(small(seen, masked=0.5), seed)
    batch = batch_of([own[:-1] for own in sequences], [own[-1] for own in sequences])
    whole, _ = batch.packed.appended(batch.targets)
    masks = per_history(
        whole, draw_masks(whole, batch.examples, batch.stream, 0.5, system.settings.last_only)
    )
    found = system.objective(ItemSide(), batch, ALONE).total
    catalogue = list(np.column_stack([f64(system.item), f64(system.bias)]))
    gain = float(system.gain().detach()) if seen == "gain" else 0.0
    users, targets, before = [], [], []
    for own, masked in zip(sequences, masks, strict=True):
        own = own[-N - 1 :]
        assert masked.any()
        shown = [MASK if m else item for item, m in zip(own, masked, strict=True)]
        told = reference_told(system, shown)
        for i in np.flatnonzero(masked):
            users.append({0: np.append(told[i], 1.0)})
            targets.append(own[i])
            before.append([item for item in shown[:i] if item != MASK])
    expected = eq23_full(users, targets, catalogue, before, gain)
    np.testing.assert_allclose(float(found.detach()), expected, **TOLERANCE)


@SETTINGS
@given(sequences=SEQUENCES, seed=SEEDS, share=st.floats(0.05, 0.95))
def test_masks_are_a_share_of_every_sequence(sequences, seed, share):
    packed = pack_lists(sequences, N + 1)
    masks = draw_masks(packed, packed.order, (seed, 3), share, 0.0)
    for own in per_history(packed, masks):
        assert own.sum() == max(1, round(share * len(own)))


def test_every_item_is_as_likely_to_be_masked():
    n, length = 4000, 5
    packed = pack_lists([[0] * length] * n, length)
    masks = draw_masks(packed, packed.order, (7, 1), 0.4, 0.0).view(n, length)
    assert (masks.sum(1) == 2).all()
    deviation = (0.4 * 0.6 / n) ** 0.5
    assert float((masks.double().mean(0) - 0.4).abs().max()) < 4 * deviation


def test_some_sequences_have_their_last_item_masked_alone():
    n, length = 4000, 5
    packed = pack_lists([[0] * length] * n, length)
    masks = draw_masks(packed, packed.order, (7, 1), 0.8, 0.3).view(n, length)
    alone = masks.sum(1) == 1
    assert abs(float(alone.double().mean()) - 0.3) < 4 * (0.3 * 0.7 / n) ** 0.5
    assert masks[alone][:, -1].all()
    assert (masks[~alone].sum(1) == 4).all()
    every = draw_masks(packed, packed.order, (7, 1), 0.8, 1.0).view(n, length)
    assert every.sum() == n
    assert every[:, -1].all()


def test_masks_follow_the_example_and_the_epoch_and_nothing_else():
    sequences = histories_of([6, 2, 4, 6, 3, 4, 5], np.random.default_rng(1), N_ITEMS)
    numbers = torch.arange(50, 57)

    def masks(chosen: list[int], epoch: int) -> dict[int, list[bool]]:
        packed = pack_lists([sequences[i] for i in chosen], N + 1)
        examples = numbers[torch.tensor(chosen)[packed.order]]
        found = per_history(packed, draw_masks(packed, examples, (3, epoch), 0.5, 0.2))
        return {i: own.tolist() for i, own in zip(chosen, found, strict=True)}

    together = masks(list(range(7)), 1)
    assert masks([4, 0, 6], 1) | masks([5, 3, 2, 1], 1) == together
    assert masks(list(range(7)), 2) != together


@SETTINGS
@given(
    sequences=SEQUENCES,
    seed=SEEDS,
    candidates=st.none() | st.sets(st.integers(0, N_ITEMS - 1), min_size=1),
)
def test_a_masked_item_has_seen_what_stands_unmasked_before_it(sequences, seed, candidates):
    packed = pack_lists(sequences, N + 1)
    masked = draw_masks(packed, packed.order, (seed, 1), 0.5, 0.2)
    rows = None if candidates is None else torch.tensor(sorted(candidates))
    found = Seen.of_masked_tokens(packed, masked, torch.tensor(1.5), rows)
    names = list(range(N_ITEMS)) if candidates is None else sorted(candidates)
    expected, user, start = [], 0, 0
    for length in packed.lengths().tolist():
        own = packed.items[start : start + length].tolist()
        gone = masked[start : start + length].tolist()
        for place in range(length):
            if gone[place]:
                had = {own[i] for i in range(place) if not gone[i]} & set(names)
                expected += [(user, names.index(item)) for item in sorted(had)]
                user += 1
        start += length
    assert list(zip(found.users.tolist(), found.items.tolist(), strict=True)) == expected
    assert len(found.before) == user + 1


def test_two_processes_share_a_loss():
    """The processes mask different numbers of items, but their parts sum to the overall mean."""
    system = randomise(small("gain", masked=0.6), 2)
    sequences = histories_of([6, 2, 4, 6, 3, 4, 5], np.random.default_rng(1), N_ITEMS)

    def batch(chosen: list[int]) -> Batch:
        packed = pack_lists([sequences[i][:-1] for i in chosen], N)
        order = torch.tensor(chosen)[packed.order]
        targets = torch.tensor([sequences[i][-1] for i in order.tolist()])
        return Batch(packed, targets, order, (1, 1))

    def masked(own: Batch) -> int:
        whole, _ = own.packed.appended(own.targets)
        settings = system.settings
        return int(draw_masks(whole, own.examples, (1, 1), 0.6, settings.last_only).sum())

    parts, whole = [batch([0, 2, 3]), batch([1, 4, 5, 6])], batch(list(range(7)))
    counts = [masked(part) for part in parts]
    assert sum(counts) == masked(whole)
    shared = sum(
        float(system.objective(ItemSide(), part, Share(part=n / sum(counts))).total.detach())
        for part, n in zip(parts, counts, strict=True)
    )
    alone = float(system.objective(ItemSide(), whole, ALONE).total.detach())
    assert shared == pytest.approx(alone, rel=1e-9)


def test_what_a_masked_item_was_reaches_nothing_but_the_loss(monkeypatch):
    """At a masked position, the network reads [MASK], whatever item was there."""
    system = randomise(small(masked=0.5, last_only=0.0), 4)
    masked = torch.tensor([False, True, False, True])
    monkeypatch.setattr(module, "draw_masks", lambda *_: masked)
    given: list[torch.Tensor] = []
    monkeypatch.setattr(
        system,
        "hidden",
        lambda tokens, packed: given.append(tokens) or Bert4Rec.hidden(system, tokens, packed),
    )
    for second, last in ((3, 5), (8, 0)):
        system.objective(ItemSide(), batch_of([[1, second, 2]], [last]), ALONE)
    torch.testing.assert_close(given[0], given[1], rtol=0, atol=0)
    torch.testing.assert_close(given[0][1], system.mask)
    torch.testing.assert_close(given[0][2], system.item[2])


def test_the_papers_preset():
    settings = make_settings({"preset": "paper", "model": {"kind": "bert4rec"}})
    own = settings.model
    assert (own.width, own.heads, own.inner, own.layers, own.dropout) == (64, 2, 256, 2, 0.5)
    assert (own.max_length, own.masked, own.last_only) == (50, 0.6, 1 / 11)
    train = settings.train
    assert (train.batch_size, train.learning_rate, train.weight_decay) == (256, 1e-4, 0.01)
    assert (train.clip, train.average) == (5.0, 0.0)
    assert settings.loss.recommendation == "softmax"
    assert settings.seen == "as-printed"


def test_heads_divide_the_width():
    with pytest.raises(InputError, match="width 64 is not a multiple of heads 3"):
        make_settings({"model": {"kind": "bert4rec", "heads": 3}})


def test_learns_a_circle_by_heart():
    """Items follow each other in a fixed circle, so masked and next items are certain."""
    n_items = 12
    torch.manual_seed(0)
    own = {"kind": "bert4rec", "width": 16, "inner": 16, "dropout": 0.0, "masked": 0.4}
    settings = make_settings({"seen": "as-printed", "model": {**own, "max_length": 6}})
    system = build_system(settings, Sizes(n_items))
    sequences = [
        [(first + i) % n_items for i in range(n)] for first in range(n_items) for n in (3, 4, 5, 6)
    ]
    batch = batch_of([own[:-1] for own in sequences], [own[-1] for own in sequences], 6)
    optimiser = torch.optim.Adam(system.parameters(), lr=0.01)
    losses = []
    for epoch in range(300):
        optimiser.zero_grad()
        loss = system.objective(ItemSide(), replace(batch, stream=(1, epoch)), ALONE).total
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 2.0
    assert max(losses[-10:]) < 0.1
    (chunk,) = system.scorer(ItemSide()).scores(batch.packed).chunks
    assert torch.equal(chunk[1].argmax(1), batch.targets[chunk[0]])
