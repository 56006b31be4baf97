"""The Triton kernels in Triton's interpreter, against the float64 reference and the default.

This says that they compute the right numbers. Whether a GPU's compiler takes them, and how fast
they are, only a GPU can say.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

with pytest.MonkeyPatch.context() as patch:
    # Read when kernels are defined, Triton's own among them, and again when they are called.
    patch.setenv("TRITON_INTERPRET", "1")
    pytest.importorskip("triton", reason="triton is not installed: its kernels are not checked")
    from miracle_core.model import kernels

from miracle_core.model.scoring import max_interest_cross_entropy
from tests.model.support import interests_of, random_users
from tests.reference.scoring import eq16_in_batch, eq23_full

WIDTH = 5


@pytest.fixture(autouse=True, params=[(16, 16, 16), (2, 4, 2)])
def tiles(request, monkeypatch):
    """Everything in one tile; and several tiles of users, items and widths."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    for name, size in zip(("USERS", "ITEMS", "WIDTHS"), request.param, strict=True):
        monkeypatch.setattr(kernels, name, size)


def case(seed: int, counts: list[int], n_items: int):
    rng = np.random.default_rng(seed)
    users = random_users(rng, counts, WIDTH)
    return users, rng.normal(size=(n_items, WIDTH)), rng.integers(0, n_items, len(counts)).tolist()


def loss_and_gradients(users, items, targets, triton: bool, **options):
    interests = interests_of(users)
    vectors = interests.vectors.requires_grad_()
    candidates = torch.tensor(items, requires_grad=True)
    loss = max_interest_cross_entropy(
        replace(interests, vectors=vectors),
        candidates,
        torch.tensor(targets)[interests.users],
        triton=triton,
        **options,
    )
    return loss.detach(), *torch.autograd.grad(2.0 * loss, (vectors, candidates))


@pytest.mark.parametrize("counts", [[1], [1, 3, 2, 3, 1], [4, 4, 4]])
@pytest.mark.parametrize("n_items", [1, 7, 9])
def test_equals_the_paper_and_the_default(counts, n_items):
    users, items, targets = case(0, counts, n_items)
    found = loss_and_gradients(users, items, targets, True, scale=1.0)
    np.testing.assert_allclose(found[0], eq23_full(users, targets, list(items)), rtol=1e-10)
    for mine, theirs in zip(found, loss_and_gradients(users, items, targets, False), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("own", [False, True])
def test_biases_and_temperature(own):
    users, items, targets = case(1, [2, 1, 3], 6)
    bias = torch.tensor(np.random.default_rng(2).normal(size=6))
    bias[next(i for i in range(6) if i not in targets)] = -torch.inf
    options = {"scale": 2.5, "item_bias": bias}
    if own:
        options["target_bias"] = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    found = loss_and_gradients(users, items, targets, True, **options)
    expected = loss_and_gradients(users, items, targets, False, **options)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_in_batch_softmax_equals_the_paper():
    users, catalogue, targets = case(3, [1, 2, 3, 1], 4)
    distinct, rows, often = np.unique(targets, return_inverse=True, return_counts=True)
    found = loss_and_gradients(
        users,
        catalogue[distinct],
        rows.tolist(),
        True,
        item_bias=torch.tensor(np.log(often)),
        target_bias=torch.zeros(len(users), dtype=torch.float64),
    )
    expected = eq16_in_batch(users, targets, [catalogue[target] for target in targets])
    np.testing.assert_allclose(found[0] * len(users), expected, rtol=1e-10)


def test_tied_interests_share_an_items_gradient_evenly():
    users, items, targets = case(4, [1, 2], 5)
    users[1] = {3: users[1][min(users[1])], 5: users[1][min(users[1])]}
    for mine, theirs in zip(
        loss_and_gradients(users, items, targets, True),
        loss_and_gradients(users, items, targets, False),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("offset", [-1e3, 1e5])
def test_nothing_overflows_and_no_missing_interest_wins(offset):
    rng = np.random.default_rng(5)
    users = [{j: np.append(offset, rng.normal(size=4)) for j in range(n)} for n in (1, 3)]
    items = np.c_[np.ones(6), rng.normal(size=(6, 4))]
    found = loss_and_gradients(users, items, [5, 2], True)
    np.testing.assert_allclose(found[0], eq23_full(users, [5, 2], list(items)), rtol=1e-9)
    assert all(part.isfinite().all() for part in found)


def test_float32_stays_close():
    users, items, targets = case(6, [1, 2, 3], 9)
    interests = interests_of(users)
    single = replace(interests, vectors=interests.vectors.float())
    own = torch.tensor(targets)[interests.users]
    found = max_interest_cross_entropy(single, torch.tensor(items).float(), own, triton=True)
    np.testing.assert_allclose(found, eq23_full(users, targets, list(items)), rtol=1e-5)
