"""Eq. 15, 16 and 22, the [MASK] vector, and the ablations of section 4.4."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.data.packed import Packed, pack_lists
from miracle_core.systems.base import ItemSide
from miracle_core.systems.miracle.losses import interest_contrast
from miracle_core.systems.miracle.masking import draw_mask
from miracle_core.systems.miracle.miracle import Miracle
from tests.reference.capsules import eq7_14_interests
from tests.reference.losses import (
    eq15_contrast,
    eq15_rows,
    eq18_orthogonality,
    eq21_balance,
    eq22_pretrain,
)
from tests.reference.miracle import interests, item_vectors, masked_interests
from tests.reference.scoring import eq16_in_batch
from tests.systems.miracle.support import (
    LENGTHS,
    SEEDS,
    SETTINGS,
    TOLERANCE,
    N,
    assert_same_interests,
    batch_of,
    f64,
    histories_of,
    paper_parameters,
    per_history,
    per_user,
    randomise,
)
from tests.systems.miracle.test_miracle import ITEMS, TEXT_WIDTH, WEIGHTS, gain_of, texts
from tests.systems.miracle.test_miracle import losses_of as finetuning_losses
from tests.systems.miracle.test_miracle import model_of as finetuned


def model_of(seed: int = 0, gain: bool = True, **options: Any) -> Miracle:
    settings = finetuned(seed, False, **options).settings
    return randomise(Miracle(settings, TEXT_WIDTH, mask=True, gain=gain), seed)


def mask_of(packed: Packed, places: list[list[int]]) -> torch.Tensor:
    """bool [tokens] from the masked positions of each history, in the caller's order."""
    rows = [
        torch.tensor([i in places[caller] for i in range(length)])
        for caller, length in zip(packed.order.tolist(), packed.lengths().tolist(), strict=True)
    ]
    return torch.cat(rows)


def losses_of(
    model: Miracle,
    text: torch.Tensor,
    histories: list[list[int]],
    targets: list[int],
    places: list[list[int]] | None,
    frequencies: torch.Tensor | None = None,
) -> Any:
    batch = batch_of(histories, targets, frequencies=frequencies)
    masked = None if places is None else mask_of(batch.packed, places)
    return model.pretrain_losses(ItemSide(text), batch, masked)


@SETTINGS
@given(
    seed=SEEDS,
    lengths=LENGTHS,
    agreement=st.sampled_from(["h", "q"]),
    capsules=st.integers(1, 6),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    repeat=st.booleans(),
    log_q=st.booleans(),
)
def test_all_terms_equal_the_paper(seed, lengths, agreement, capsules, share, repeat, log_q):
    """Histories of every length; shared and separate targets; some, none or all items masked."""
    model = model_of(seed, agreement=agreement, capsules=capsules, gain=repeat)
    text, rng = texts(seed), np.random.default_rng(seed)
    histories = histories_of(lengths, rng, ITEMS)
    targets = rng.integers(0, 4, len(lengths)).tolist()
    places = [np.flatnonzero(rng.random(length) < share).tolist() for length in lengths]
    often = rng.dirichlet(np.ones(ITEMS)) if log_q else None

    p = paper_parameters(model.adaptor, model.context, model.capsules)
    xs = item_vectors(f64(text), p)
    options = {"tau": model.settings.iterations, "agreement": agreement}
    users = [interests(history, xs, p, **options) for history in histories]
    copies = [
        masked_interests(history, own, xs, f64(model.mask), p, **options, forced=user.choice)
        for history, own, user in zip(histories, places, users, strict=True)
    ]
    rows = eq15_rows(users, copies, places)
    expected = {
        "recommendation": eq16_in_batch(
            [user.u for user in users],
            targets,
            [xs[target] for target in targets],
            histories,
            gain_of(model),
            None if often is None else dict(enumerate(often)),
        )
        / len(users),
        "coverage": eq21_balance([user.s for user in users], [user.choice for user in users]),
        "orthogonality": eq18_orthogonality(p.A),
        "contrast": eq15_contrast(rows) / max(len(rows), 1),
    }
    frequencies = None if often is None else torch.from_numpy(often)
    losses = losses_of(model, text, histories, targets, places, frequencies)
    assert losses.terms.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(f64(losses.terms[name]), value, **TOLERANCE)
    theta = (WEIGHTS["coverage"], WEIGHTS["orthogonality"], WEIGHTS["contrast"])
    np.testing.assert_allclose(f64(losses.total), eq22_pretrain(*expected.values(), theta))


def test_corrected_a_batch_stands_for_all_items():
    """If each target is drawn as often as expected, the loss is that of the whole catalogue."""
    model, text = model_of(1), texts()
    targets = [*range(ITEMS), 2, 2, 3]
    histories = histories_of(
        [1 + i % N for i in range(len(targets))], np.random.default_rng(0), ITEMS
    )
    counts = np.bincount(targets, minlength=ITEMS)
    frequencies = torch.from_numpy(counts / counts.sum())
    corrected = losses_of(model, text, histories, targets, None, frequencies)
    whole = finetuning_losses(model, text, histories, targets)
    torch.testing.assert_close(corrected.total, whole.total)
    assert losses_of(model, text, histories, targets, None).total > corrected.total + 1e-3


def test_without_a_mask_there_is_no_contrast():
    losses = losses_of(model_of(), texts(), [[0, 1, 2], [3]], [4, 5], None)
    assert "contrast" not in losses.terms
    with_none = losses_of(model_of(), texts(), [[0, 1, 2], [3]], [4, 5], [[], []])
    assert with_none.terms["contrast"] == 0.0
    assert losses.total == with_none.total


def test_one_target_for_all_is_no_negative_of_itself():
    losses = losses_of(model_of(), texts(), [[0, 1, 2], [3], [4, 5]], [6, 6, 6], None)
    assert losses.terms["recommendation"] == 0.0


def test_contrast_is_zero_with_one_distinct_masked_interest():
    """Masked items of one capsule share one row, and a single row has no negatives."""
    one_capsule = model_of(capsules=1)
    losses = losses_of(one_capsule, texts(), [[0, 1, 2, 3], [4]], [5, 6], [[0, 1, 2], []])
    assert losses.terms["contrast"] == 0.0
    losses.total.backward()
    assert all(p.grad.isfinite().all() for p in one_capsule.parameters() if p.grad is not None)
    two_users = losses_of(one_capsule, texts(), [[0, 1, 2, 3], [4, 5]], [5, 6], [[0], [0]])
    assert two_users.terms["contrast"] > 0.0


def test_no_row_is_zero_with_a_graph():
    u = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    loss = interest_contrast(u[:0], u[:0])
    assert loss == 0.0
    loss.backward()
    assert torch.equal(u.grad, torch.zeros(3, 4, dtype=torch.float64))


def test_gradcheck_of_the_contrast():
    generator = torch.Generator().manual_seed(0)
    pair = [
        torch.randn(5, 3, dtype=torch.float64, generator=generator, requires_grad=True)
        for _ in range(2)
    ]
    assert torch.autograd.gradcheck(interest_contrast, pair)


class _Total(torch.nn.Module):
    def __init__(self, model: Miracle) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any) -> torch.Tensor:
        return losses_of(self.model, *args).total


def test_gradcheck_of_the_whole_loss():
    model, text = model_of(4), texts()
    batch = ([[0, 1, 2, 3], [3, 4], [5], [6, 0, 1]], [7, 8, 7, 1], [[0, 2], [0], [], [1]])
    names, values = zip(*model.named_parameters(), strict=True)

    def total(*weights: torch.Tensor) -> torch.Tensor:
        named = {f"model.{name}": w for name, w in zip(names, weights, strict=True)}
        return torch.func.functional_call(_Total(model), named, (text, *batch))

    inputs = tuple(value.detach().clone().requires_grad_() for value in values)
    assert torch.autograd.gradcheck(total, inputs, fast_mode=True)


def test_every_parameter_learns_in_one_step():
    model = model_of(5, gate_noise=True, activation_noise=True, dropout=0.1).train()
    histories = [[0, 1, 2, 3, 4], [5, 4], [6, 7], [8, 0, 1]]
    losses_of(model, texts(), histories, [5, 6, 7, 8], [[0, 2], [0], [], [1]]).total.backward()
    for name, parameter in model.named_parameters():
        if name == "capsules.attention.score.bias":  # shifts all scores equally: no effect
            continue
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_a_model_without_a_mask_vector_masks_nothing():
    with pytest.raises(ValueError, match="MASK"):
        losses_of(finetuned(0, False), texts(), [[0, 1]], [2], [[0]])


@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, data=st.data())
def test_selected_histories_are_those_packed_alone(seed, lengths, data):
    histories = histories_of(lengths, np.random.default_rng(seed), ITEMS)
    packed = pack_lists(histories, N)
    chosen = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(lengths),
                                             max_size=len(lengths))))  # fmt: skip
    selected, tokens = packed.select(chosen)
    kept = packed.order[chosen].tolist()
    assert selected.order.tolist() == kept
    alone = pack_lists([histories[i] for i in kept], N)
    assert torch.equal(selected.items, alone.items)
    assert torch.equal(selected.positions, alone.positions)
    assert selected.groups == alone.groups
    assert torch.equal(packed.items[tokens], selected.items)
    assert selected.n_tokens == sum(len(histories[i]) for i in kept)


def test_the_newest_item_and_short_histories_are_never_masked():
    packed = pack_lists([[0, 1, 2, 3, 4], [0, 1, 2, 3], [0], [5, 6, 7, 8, 0]], N)
    torch.manual_seed(0)
    by_caller = per_history(packed, draw_mask(packed, 1.0, 5))
    assert [rows.tolist() for rows in by_caller] == [
        [True] * 4 + [False], [False] * 4, [False], [True] * 4 + [False]
    ]  # fmt: skip
    assert not draw_mask(packed, 0.0, 2).any()
    many = pack_lists([[0] * 5] * 4000, N)
    share = draw_mask(many, 0.2, 5).sum() / 16_000
    assert abs(share - 0.2) < 0.015


def test_without_sparse_activation_every_capsule_is_every_users():
    """Section 4.4's "w/o SS": the reference with all capsules forced active."""
    model = model_of(3, capsules=4, sparse=False)
    histories = histories_of([1, 2, 4, 5, 5], np.random.default_rng(0), ITEMS)
    packed = pack_lists(histories, N)
    output = model(model.item_vectors(texts())[packed.items], packed)
    p = paper_parameters(model.adaptor, model.context, model.capsules)
    H = per_history(packed, model.context(model.item_vectors(texts())[packed.items], packed))
    assert output.interests.groups == ((4, 5),)
    for own, found in zip(H, per_user(packed, output.interests), strict=True):
        expected = eq7_14_interests(list(own), p, forced=[0, 1, 2, 3])
        assert_same_interests(found, expected.u)
    # Nothing else about the network differs.
    sparse = model_of(3, capsules=4)
    assert sparse.state_dict().keys() == model.state_dict().keys()
    losses = losses_of(model, texts(), [[0, 1, 2, 3], [4, 5]], [6, 7], [[0, 1], [0]])
    losses.total.backward()
    assert losses.total.isfinite()
