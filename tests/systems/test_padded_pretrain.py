"""Pre-training on padded histories equals that on packed ones: S3-Rec and UniSRec.

For MIRACLE, see ``tests/systems/miracle/test_padded_pretrain.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from miracle_core.config import make_settings
from miracle_core.launches import few_launches
from miracle_core.processes import ALONE
from miracle_core.runs.opening import build_system
from miracle_core.systems.base import Batch, ItemSide, Objective, Sizes, System
from tests.systems.test_padded import (
    ATTRIBUTES,
    LONGEST,
    N_ITEMS,
    N_TEXT,
    SMALL,
    assert_same,
    attributes,
    batches,
    drawn,
    side,
)

FREQUENCIES = torch.rand(3 * N_ITEMS, generator=torch.Generator().manual_seed(1)) + 0.1
# Equal weights, so that no term hides another.
S3REC = {"item_attribute": 1.0, "masked_item": 1.0, "masked_attribute": 1.0, "segment": 1.0}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("s3rec", {}),
    ("s3rec", {"mask_probability": 0.0}),
    ("s3rec", {"mask_probability": 1.0}),
    *(("s3rec", {**dict.fromkeys(S3REC, 0.0), name: 1.0}) for name in S3REC),
    ("unisrec", {}),
    ("unisrec", {"item_drop": 0.0}),
    ("unisrec", {"item_drop": 1.0}),
    ("unisrec", {"contrast": 0.0}),
]


def system_of(kind: str, own: dict[str, Any], dtype: torch.dtype, seen: str = "gain") -> System:
    """A system to be pre-trained, with weights that distinguish histories."""
    usual = {"s3rec": {**S3REC, "max_length": LONGEST + 1, "mask_probability": 0.4}}
    unisrec = {"contrast": 1.0, "max_length": LONGEST, "item_drop": 0.4}
    model = {"kind": kind, **SMALL[kind], **usual.get(kind, unisrec), **own}
    settings = make_settings({"model": model, "datasets": ["somewhere"], "seen": seen})
    items = N_ITEMS if kind == "s3rec" else None
    system = build_system(settings, Sizes(items, N_TEXT, ATTRIBUTES))
    assert system.max_length == LONGEST
    return drawn(system, dtype)


def items_of(kind: str, dtype: torch.dtype) -> ItemSide:
    """The catalogue, or the batch's own items, renumbered."""
    if kind == "s3rec":
        return ItemSide(attributes=attributes())
    return replace(side(dtype), rows=3 * torch.arange(N_ITEMS).flip(0), attributes=None)


def asked(system: System, batch: Batch, items: ItemSide, log_q: bool) -> Objective:
    """Targets that several histories share."""
    batch = replace(batch, targets=batch.targets % 9, frequencies=FREQUENCIES if log_q else None)
    with few_launches(batch.packed.valid is not None):
        return system.pretrain_objective(items, batch, ALONE)


def learned(
    system: System, kind: str, batch: Batch, dtype: torch.dtype, log_q: bool = False
) -> tuple[Objective, dict[str, Any]]:
    system.zero_grad(set_to_none=True)
    found = asked(system, batch, items_of(kind, dtype), log_q)
    found.total.backward()
    return found, {name: weight.grad for name, weight in system.named_parameters()}


@pytest.mark.parametrize(("kind", "own"), CASES, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_all_terms_and_gradients_in_float64(kind, own, seed):
    system = system_of(kind, own, torch.float64)
    packed, padded = (learned(system, kind, each, torch.float64) for each in batches(seed))
    assert_same(packed, padded, 1e-10)
    terms = dict(packed[0].terms)
    if own == {"mask_probability": 1.0}:  # no unmasked item is left to predict attributes from
        assert float(terms.pop("item_attribute").detach()) == 0
    assert all(float(term.detach()) > 0 for term in terms.values())


@pytest.mark.parametrize("seen", ["as-printed", "gain"])
@pytest.mark.parametrize("log_q", [False, True])
def test_candidates_of_a_batch(seen, log_q):
    system = system_of("unisrec", {}, torch.float64, seen)
    found = (learned(system, "unisrec", each, torch.float64, log_q) for each in batches(2))
    assert_same(*found, 1e-10)


@pytest.mark.parametrize(("kind", "own"), CASES, ids=str)
def test_in_float32(kind, own):
    system = system_of(kind, own, torch.float32)
    packed, padded = (learned(system, kind, each, torch.float32) for each in batches(3))
    assert_same(packed, padded, 1e-5)


@pytest.mark.parametrize(("kind", "own"), CASES, ids=str)
def test_what_padding_holds_changes_nothing(kind, own):
    system = system_of(kind, own, torch.float64)
    _, batch = batches(4)
    packed = batch.packed
    other = torch.where(packed.valid, packed.items, N_ITEMS - 1)
    changed = replace(batch, packed=replace(packed, items=other))
    one, another = (learned(system, kind, each, torch.float64) for each in (batch, changed))
    assert_same(one, another, 1e-12)


@pytest.mark.parametrize("kind", ["s3rec", "unisrec"])
def test_without_attributes_or_with_a_history_of_one_place(kind):
    """Cases that leave nothing to do: no attribute to predict, and no item to drop."""
    own = {"max_length": 2 if kind == "s3rec" else 1}
    settings = make_settings(
        {"model": {"kind": kind, **SMALL[kind], **own}, "datasets": ["somewhere"]}
    )
    system = build_system(settings, Sizes(N_ITEMS if kind == "s3rec" else None, N_TEXT))
    system = system.double().eval()
    found = []
    for batch in batches(5, longest=1):
        items = replace(items_of(kind, torch.float64), attributes=None)
        objective = asked(system, batch, items, log_q=False)
        found.append(torch.stack(list(objective.terms.values())))
    assert len(found[0]) == 2
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["s3rec", "unisrec"])
def test_a_step_can_be_captured(kind):
    """The step is traced on one batch without reading values, then run on another batch."""
    system = system_of(kind, {}, torch.float64)
    items = items_of(kind, torch.float64)
    one, other = batches(7)[1], batches(8)[1]

    def losses(tokens, valid, targets, examples):
        packed = replace(one.packed, items=tokens, valid=valid)
        batch = Batch(packed, targets, examples, (5, 2))
        return list(asked(system, batch, items, log_q=True).terms.values())

    def tensors(batch: Batch) -> tuple[torch.Tensor | None, ...]:
        return batch.packed.items, batch.packed.valid, batch.targets, batch.examples

    with few_launches(), torch.no_grad():
        trace = make_fx(losses, tracing_mode="fake", _allow_non_fake_inputs=True)
        traced = trace(*tensors(one))
        found, expected = traced(*tensors(other)), losses(*tensors(other))
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs)
        assert not torch.equal(found[0], losses(*tensors(one))[0])


@pytest.mark.parametrize("kind", ["s3rec", "unisrec"])
def test_noise_and_dropout_are_drawn_without_the_host(kind):
    system = system_of(kind, {}, torch.float32).train()
    _, batch = batches(10)
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        found.append(learned(system, kind, batch, torch.float32)[0].total.detach())
    assert torch.equal(*found)
    assert found[0].isfinite()
