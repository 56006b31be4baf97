"""Pre-training on padded histories equals pre-training on packed ones (eq. 15-22)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from miracle_core.config import make_settings
from miracle_core.data.packed import Packed, pad_lists
from miracle_core.launches import few_launches
from miracle_core.processes import ALONE
from miracle_core.systems.base import Batch, ItemSide
from miracle_core.systems.miracle.losses import interest_contrast
from miracle_core.systems.miracle.masking import draw_mask, most_masked
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.systems.miracle.settings import MiracleSettings
from tests.systems.test_padded import N_ITEMS, N_TEXT, SMALL, assert_same, batches, drawn

FREQUENCIES = torch.rand(3 * N_ITEMS, generator=torch.Generator().manual_seed(1)) + 0.1


def model_of(seen: str, dtype: torch.dtype, **own: object) -> Miracle:
    settings = make_settings({"model": {**SMALL["miracle"], **own}})
    assert isinstance(settings.model, MiracleSettings)
    model = Miracle(settings.model, N_TEXT, mask=True, gain=seen == "gain")
    return drawn(model, dtype)


def masked_of(packed: Packed, share: float) -> torch.Tensor:
    """A mask by history and position, the same in both layouts, that spares the newest items."""
    caller = packed.order[packed.history_of_token()]
    table = torch.rand(caller.max() + 1, 20, generator=torch.Generator().manual_seed(8)) < share
    masked = table[caller, packed.positions]
    masked[packed.last_tokens()] = False
    return masked if packed.valid is None else masked & packed.valid


def learned(model, batch, share, named, log_q, most=None):
    model.zero_grad(set_to_none=True)
    rows = 3 * torch.arange(N_ITEMS).flip(0) if named else None
    text = torch.randn(N_ITEMS, N_TEXT, generator=torch.Generator().manual_seed(4))
    side = ItemSide(text.to(model.repeat.dtype if model.repeat is not None else text.dtype), rows)
    frequencies = FREQUENCIES[: N_ITEMS if rows is None else None] if log_q else None
    batch = Batch(batch.packed, batch.targets % 9, batch.examples, (5, 2), frequencies)
    masked = None if share is None else masked_of(batch.packed, share)
    with few_launches(batch.packed.valid is not None):
        found = model.pretrain_losses(side, batch, masked, ALONE, most)
        found.total.backward()
    return found, {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize("share", [None, 0.0, 0.05, 0.4, 1.0])
@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("log_q", [False, True])
def test_all_terms_and_gradients(share, named, log_q):
    model = model_of("gain", torch.float64)
    # With its default weight of 0.001, an error in the contrast would stay hidden.
    model.settings = model.settings.model_copy(update={"contrast": 1.0})
    packed, padded = (learned(model, batch, share, named, log_q) for batch in batches(0))
    if not share:  # nothing is masked: None in one layout, zeros in the other
        padded[1]["mask"] = packed[1]["mask"] = None
    assert_same(packed, padded, 1e-9)
    assert (share is None) == ("contrast" not in packed[0].terms)


@pytest.mark.parametrize("own", [{}, {"capsules": 4}, {"sparse": False, "capsules": 4}], ids=str)
def test_in_float32(own):
    model = model_of("gain", torch.float32, **own)
    packed, padded = (learned(model, batch, 0.3, True, True) for batch in batches(1))
    assert_same(packed, padded, 1e-5)


def test_room_for_just_those_that_are_masked():
    model = model_of("gain", torch.float64)
    _, batch = batches(2)
    most = int(masked_of(batch.packed, 0.3).sum())
    exact = learned(model, batch, 0.3, True, True, most)
    assert_same(exact, learned(model, batch, 0.3, True, True), 1e-12)


def test_a_mask_never_takes_padding_the_newest_item_or_too_many():
    histories = [[1] * (1 + user % 9) for user in range(400)]
    padded = pad_lists(histories, 7)
    torch.manual_seed(0)
    masked = draw_mask(padded, 0.4, 3)
    assert not masked[~padded.valid].any()
    assert not masked[padded.last_tokens()].any()
    assert not masked[padded.lengths()[padded.history_of_token()] < 3].any()
    may = int((padded.lengths() - 1)[padded.lengths() >= 3].sum())
    assert abs(int(masked.sum()) / may - 0.4) < 0.05
    assert int(masked.sum()) <= most_masked(padded, 0.4) <= 400 * 6
    assert int(draw_mask(padded, 1.0, 2).sum()) <= most_masked(padded, 1.0) == 400 * 6
    assert most_masked(pad_lists([[1]], 1), 0.5) == 1


def test_rows_that_are_not_there_are_no_negatives():
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator).unbind()
    counted = torch.tensor([True, False, True, True, False])
    expected = interest_contrast(u[counted], v[counted])
    torch.testing.assert_close(interest_contrast(u, v, ALONE, counted), expected)
    nothing = interest_contrast(u.requires_grad_(), v, ALONE, counted & False)
    assert float(nothing.detach()) == 0.0
    nothing.backward()
    assert not u.grad.any()


def test_a_step_can_be_captured():
    """The step is traced on one batch without reading values, then run on another batch."""
    model = model_of("gain", torch.float64)
    text = torch.randn(N_ITEMS, N_TEXT, dtype=torch.float64)
    one, other = batches(7)[1], batches(8)[1]

    def losses(items, valid, targets, masked):
        packed = replace(one.packed, items=items, valid=valid)
        batch = Batch(packed, targets, one.examples, (5, 2), FREQUENCIES)
        side = ItemSide(text, 3 * torch.arange(N_ITEMS))
        found = model.pretrain_losses(side, batch, masked, ALONE, 60)
        return list(found.terms.values())

    def tensors(batch):
        packed = batch.packed
        return packed.items, packed.valid, batch.targets % 9, masked_of(packed, 0.3)

    with few_launches(), torch.no_grad():
        trace = make_fx(losses, tracing_mode="fake", _allow_non_fake_inputs=True)
        traced = trace(*tensors(one))
        for found, expected in zip(traced(*tensors(other)), losses(*tensors(other)), strict=True):
            torch.testing.assert_close(found, expected)
