"""The Triton kernels in Triton's interpreter, against the float64 reference and the default.

This says that they compute the right numbers, and that the compiler takes them. Whether they do the
same on a GPU, and how fast they are, only a GPU can say. (bfloat16 is not looked at: the
interpreter multiplies its bits as whole numbers.)
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

with pytest.MonkeyPatch.context() as patch:
    # Read when kernels are defined, Triton's own among them, and again when they are called.
    patch.setenv("TRITON_INTERPRET", "1")
    pytest.importorskip("triton", reason="triton is not installed: its kernels are not checked")
    from miracle_core.model import kernels

from miracle_core.config import LossSettings, ModelSettings
from miracle_core.data.packed import pack_lists
from miracle_core.model.miracle import Miracle
from miracle_core.model.repeats import Repeats
from miracle_core.model.scoring import max_interest_cross_entropy
from miracle_core.training import devices
from tests.model.support import interests_of, random_users, randomise
from tests.reference.scoring import eq16_in_batch, eq23_full

WIDTH = 5
CPU = torch.device("cpu")


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


def loss_and_gradients(
    users, items, targets, triton: bool, had=None, gain=0.0, dtype=torch.float64, **options
):
    """The loss, its gradients for interests and items, and with ``had`` for the gain of repeats."""
    interests = interests_of(users)
    vectors = interests.vectors.to(dtype).requires_grad_()
    candidates = torch.tensor(items, dtype=dtype, requires_grad=True)
    wanted = [vectors, candidates]
    if had is not None:
        wanted.append(torch.tensor(gain, dtype=dtype, requires_grad=True))
        options["repeats"] = repeats_of(interests.users.tolist(), had, wanted[-1])
    loss = max_interest_cross_entropy(
        replace(interests, vectors=vectors),
        candidates,
        torch.tensor(targets)[interests.users],
        triton=triton,
        **options,
    )
    return loss.detach(), *torch.autograd.grad(2.0 * loss, wanted)


def repeats_of(order, had, gain):
    """Users rising, as promised; a user's items falling, since nothing is promised of these."""
    pairs = [(u, i) for u, user in enumerate(order) for i in sorted(had[user], reverse=True)]
    users, items = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return Repeats.of_pairs(users, items, gain, len(order))


def some_of(seed: int, n_users: int, targets, n_items: int):
    """What users have had: every other one its target, each some items, the last one none."""
    rng = np.random.default_rng(seed)
    had = [set(np.flatnonzero(rng.random(n_items) < 0.4).tolist()) for _ in range(n_users)]
    for user, target in enumerate(targets):
        (had[user].discard if user % 2 else had[user].add)(target)
    return [list(items) for items in had[:-1]] + [[]]


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
    # Sixteenths, whose products have no rounding: equal rows then tie in any order of sums.
    users = [{j: np.round(u * 16) / 16 for j, u in user.items()} for user in users]
    items = np.round(items * 16) / 16
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


@pytest.mark.parametrize("gain", [-3.0, 20.0])
@pytest.mark.parametrize("what", ["none", "some", "all"])
@pytest.mark.parametrize("counts", [[2], [1, 3, 2, 3, 1]])
def test_repeats_gain_as_in_the_paper_and_the_default(counts, what, gain):
    users, items, targets = case(7, counts, 9)
    n = len(counts)
    had = {
        "none": [[]] * n, "some": some_of(8, n, targets, 9), "all": [list(range(9))] * n,
    }[what]  # fmt: skip
    found = loss_and_gradients(users, items, targets, True, had, gain)
    reference = eq23_full(users, targets, list(items), had, gain)
    np.testing.assert_allclose(found[0], reference, rtol=1e-10)
    expected = loss_and_gradients(users, items, targets, False, had, gain)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
    assert (found[3] != 0) == (what == "some" and n > 1)


def test_many_users_and_repeats_beside_biases_and_temperature():
    """More users than a tile, a list for every tile of items, and all that scores are given."""
    users, items, targets = case(9, [1] * 18 + [2] * 3 + [3], 19)
    options = {
        "scale": 2.5,
        "item_bias": torch.tensor(np.random.default_rng(10).normal(size=19)),
        "target_bias": torch.zeros(len(users), dtype=torch.float64),
    }
    had = some_of(11, len(users), targets, 19)
    found = loss_and_gradients(users, items, targets, True, had, 1.5, **options)
    expected = loss_and_gradients(users, items, targets, False, had, 1.5, **options)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_in_batch_softmax_with_repeats_equals_the_paper():
    users, catalogue, targets = case(12, [1, 2, 3, 1], 6)
    distinct, rows, often = np.unique(targets, return_inverse=True, return_counts=True)
    had = some_of(13, len(users), targets, 6)
    found = loss_and_gradients(
        users,
        catalogue[distinct],
        rows.tolist(),
        True,
        [[i for i, item in enumerate(distinct) if item in items] for items in had],
        -1.3,
        item_bias=torch.tensor(np.log(often)),
        target_bias=torch.zeros(len(users), dtype=torch.float64),
    )
    xs = [catalogue[target] for target in targets]
    expected = eq16_in_batch(users, targets, xs, had, -1.3)
    np.testing.assert_allclose(found[0] * len(users), expected, rtol=1e-10)


def test_the_gain_alone_may_learn():
    users, items, targets = case(14, [1, 2], 5)
    had = some_of(15, 2, targets, 5)
    interests = interests_of(users)
    gain = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    loss = max_interest_cross_entropy(
        interests,
        torch.tensor(items),
        torch.tensor(targets)[interests.users],
        repeats=repeats_of(interests.users.tolist(), had, gain),
        triton=True,
    )
    expected = loss_and_gradients(users, items, targets, False, had, 0.5)
    torch.testing.assert_close(torch.autograd.grad(2.0 * loss, gain)[0], expected[3])


@pytest.mark.parametrize(
    ("kind", "autocast", "tolerance"),
    [
        (torch.float32, False, 1e-5),
        (torch.float32, True, 5e-3),
        (torch.float16, False, 5e-3),
    ],
    ids=["float32", "autocast", "float16"],
)
@pytest.mark.parametrize("gain", [0.4, 20.0])
def test_other_types_stay_close_to_float64(kind, autocast, tolerance, gain):
    users, items, targets = case(16, [1, 3, 2, 3], 9)
    had = some_of(17, len(users), targets, 9)
    with torch.autocast("cpu", dtype=torch.float16, enabled=autocast):
        found = loss_and_gradients(users, items, targets, True, had, gain, kind)
    expected = loss_and_gradients(users, items, targets, False, had, gain)
    for mine, theirs in zip(found, expected, strict=True):
        largest = theirs.abs().max().item()
        torch.testing.assert_close(mine.double(), theirs, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize("pretraining", [False, True])
def test_the_default_models_step_is_the_same(pretraining):
    settings = ModelSettings(width=6, capsules=4, experts=2, inner=8, max_length=5)
    rng = np.random.default_rng(18)
    histories = [rng.integers(0, 9, length).tolist() for length in (1, 3, 2, 5, 4, 3)]
    packed = pack_lists(histories, 5)
    found = []
    for triton in (False, True):
        n_items = None if pretraining else 9
        model = randomise(Miracle(settings, 7, n_items, mask=pretraining), 19)
        model.triton = triton
        text = model.scaled_text(torch.tensor(np.random.default_rng(20).normal(size=(9, 7))))
        # Some take again what they have had, and two the same.
        given = (text, packed, torch.tensor([histories[0][0], 3, histories[2][1], 3, 8, 1]))
        if pretraining:
            losses = model.pretrain_losses(*given, None, LossSettings())
        else:
            losses = model.finetune_losses(*given, LossSettings())
        losses.total.backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        assert gradients["repeat"] != 0
        found.append((losses.total.detach(), gradients))
    # A temperature is passed to the kernels in float32.
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-7)


# In tiny tiles the interpreter takes too long for it.
@pytest.mark.parametrize("tiles", [(16, 16, 16)], indirect=True)
def test_the_check_before_a_training_passes():
    assert devices.triton_error(8, "fp32", CPU) < 1e-6
    assert 1e-5 < devices.triton_error(8, "fp16", CPU) < devices.TRITON_ALLOWED["fp16"]


# A compiler has products of tiles of 16 and more, of a size that the other process sets.
@pytest.mark.parametrize("tiles", [(16, 16, 16)], indirect=True)
def test_a_compiler_for_gpus_takes_them(tmp_path):
    """Of all kinds that a training has; in a process without the interpreter, with no GPU."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    del environment["TRITON_INTERPRET"]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("compile_kernels.py"))],
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["compiled"] * 12
