"""Eq. 16, 17 and 23 against the float64 reference, for blocks of every shape."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.launches import few_launches
from miracle_core.ranking import loss as scoring
from miracle_core.ranking.loss import (
    chunks_of_users,
    max_interest_cross_entropy,
)
from miracle_core.ranking.pieces import max_over_interests
from tests.reference.scoring import eq16_in_batch, eq17_score, eq17_winner, eq23_full
from tests.systems.miracle.support import SEEDS, SETTINGS, TOLERANCE, interests_of, random_users

WIDTH = 4
COUNTS = st.lists(st.integers(1, 6), min_size=1, max_size=7)
# (scores per block, fewest and most interests per chunk, scores processed together). In order: one
# block, whole and in pieces; chunks of users with the whole catalogue; several blocks per chunk,
# whole and in pieces; blocks of one item.
BLOCKS = [
    (1 << 22, 256, 4096, 1 << 20),
    (1 << 22, 256, 4096, 20),
    (48, 2, 8, 9),
    (30, 8, 5, 1 << 20),
    (30, 8, 5, 1),
    (3, 99, 2, 3),
    (1, 99, 1, 1),
]


@pytest.fixture(params=BLOCKS)
def blocks(request, monkeypatch):
    set_blocks(monkeypatch, request.param)


def set_blocks(monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int, int, int]) -> None:
    names = ("BLOCK_ELEMENTS", "MIN_CHUNK_ROWS", "MAX_CHUNK_ROWS", "PIECE_ELEMENTS")
    for name, size in zip(names, sizes, strict=True):
        monkeypatch.setattr(scoring, name, size)


def test_a_gpu_looks_at_large_blocks_whole():
    vectors = torch.zeros(1, 1)
    usual, _ = scoring.block_and_piece(vectors, padded=False)
    with few_launches():
        block, piece = scoring.block_and_piece(vectors, padded=False)
        assert block == piece > usual
        larger, piece = scoring.block_and_piece(vectors, padded=True)
        assert larger == piece > block
    assert scoring.block_and_piece(vectors, padded=False)[0] == usual


def case(seed: int, counts: list[int], n_items: int):
    rng = np.random.default_rng(seed)
    users = random_users(rng, counts, WIDTH)
    items = rng.normal(size=(n_items, WIDTH))
    return users, items, rng.integers(0, n_items, len(counts)).tolist()


def full_loss(users, items, targets, **options) -> torch.Tensor:
    interests = interests_of(users)
    return max_interest_cross_entropy(
        interests, torch.as_tensor(items), torch.tensor(targets)[interests.users], **options
    )


@SETTINGS
@given(seed=SEEDS, counts=COUNTS, n_items=st.integers(1, 9), sizes=st.sampled_from(BLOCKS))
def test_full_softmax_equals_the_paper(seed, counts, n_items, sizes):
    users, items, targets = case(seed, counts, n_items)
    with pytest.MonkeyPatch.context() as patch:
        set_blocks(patch, sizes)
        found = full_loss(users, items, targets)
    np.testing.assert_allclose(found, eq23_full(users, targets, list(items)), **TOLERANCE)


@SETTINGS
@given(seed=SEEDS, counts=COUNTS)
def test_scores_equal_the_paper(seed, counts):
    users, items, _ = case(seed, counts, 6)
    interests = interests_of(users)
    best = max_over_interests(interests.vectors @ torch.tensor(items).T, interests.groups)
    expected = [[eq17_score(users[i], x) for x in items] for i in interests.users.tolist()]
    np.testing.assert_allclose(best, expected, **TOLERANCE)


@SETTINGS
@given(seed=SEEDS, counts=COUNTS, sizes=st.sampled_from(BLOCKS))
def test_in_batch_softmax_equals_the_paper(seed, counts, sizes):
    """Distinct targets are the candidates; each counts as often as others took it, mine once."""
    users, catalogue, targets = case(seed, counts, 4)
    distinct, rows, often = np.unique(targets, return_inverse=True, return_counts=True)
    with pytest.MonkeyPatch.context() as patch:
        set_blocks(patch, sizes)
        found = full_loss(
            users,
            catalogue[distinct],
            rows.tolist(),
            item_bias=torch.tensor(np.log(often)),
            target_bias=torch.zeros(len(users), dtype=torch.float64),
        )
    expected = eq16_in_batch(users, targets, [catalogue[target] for target in targets])
    np.testing.assert_allclose(found * len(users), expected, **TOLERANCE)


def test_a_candidate_that_counts_zero_times_is_none(blocks):
    """log 0 is -inf, also if a whole block of candidates counts zero times."""
    users, items, _ = case(11, [1, 3, 2], 6)
    counted = [2, 3, 5]
    bias = torch.full((6,), -torch.inf, dtype=torch.float64)
    bias[counted] = 0.0
    interests = interests_of(users)
    vectors = interests.vectors.requires_grad_()
    candidates = torch.tensor(items, requires_grad=True)
    targets = torch.tensor([5, 2, 3])[interests.users]
    loss = max_interest_cross_entropy(
        replace(interests, vectors=vectors), candidates, targets, item_bias=bias
    )
    expected = eq23_full(users, [2, 0, 1], list(items[counted]))
    np.testing.assert_allclose(loss.detach(), expected, **TOLERANCE)
    loss.backward()
    assert vectors.grad.isfinite().all()
    assert not candidates.grad[[0, 1, 4]].any() and candidates.grad[counted].abs().min() > 0


def test_temperature_divides_the_scores(blocks):
    users, items, targets = case(3, [1, 4, 2], 7)
    cooled = [{j: 2.5 * u for j, u in user.items()} for user in users]
    expected = eq23_full(cooled, targets, list(items))
    np.testing.assert_allclose(full_loss(users, items, targets, scale=2.5), expected, **TOLERANCE)


@pytest.mark.parametrize("bias", [False, True])
def test_gradcheck(blocks, bias):
    users, items, targets = case(4, [1, 3, 2, 3, 1], 7)
    interests = interests_of(users)
    rng = np.random.default_rng(0)
    options = {"scale": 1.7}
    if bias:
        options["item_bias"] = torch.tensor(rng.normal(size=7))
        options["target_bias"] = torch.tensor(rng.normal(size=5))

    def loss(vectors: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
        return max_interest_cross_entropy(
            replace(interests, vectors=vectors),
            candidates,
            torch.tensor(targets)[interests.users],
            **options,
        )

    inputs = (interests.vectors.requires_grad_(), torch.tensor(items).requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)


def test_gradient_is_that_of_plain_autograd_and_scales_with_what_follows(blocks):
    users, items, targets = case(5, [2, 1, 4, 2], 11)
    interests = interests_of(users)
    own = torch.tensor(targets)[interests.users]
    vectors = interests.vectors.clone().requires_grad_()
    candidates = torch.tensor(items, requires_grad=True)
    parts = (vectors @ candidates.T).split(interests.counts().tolist())
    plain = torch.nn.functional.cross_entropy(torch.stack([p.amax(0) for p in parts]), own)
    expected = torch.autograd.grad(3.0 * plain, (vectors, candidates))
    ours = max_interest_cross_entropy(replace(interests, vectors=vectors), candidates, own)
    found = torch.autograd.grad(3.0 * ours, (vectors, candidates))
    torch.testing.assert_close(ours, plain)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (False, False)])
def test_gradients_for_one_side_only(wanted):
    users, items, targets = case(6, [2, 3], 5)
    interests = interests_of(users)
    vectors = interests.vectors.requires_grad_(wanted[0])
    candidates = torch.tensor(items, requires_grad=wanted[1])
    loss = max_interest_cross_entropy(
        replace(interests, vectors=vectors), candidates, torch.tensor(targets)[interests.users]
    )
    assert loss.requires_grad == any(wanted)
    if any(wanted):
        loss.backward()
    assert (vectors.grad is not None, candidates.grad is not None) == wanted


def test_tied_interests_share_an_items_gradient_evenly(blocks):
    """Copies of an interest change neither the loss nor the gradient of any item."""
    users, items, targets = case(7, [1, 1, 2], 6)
    copies = [
        {8 * n + j: u for n in range(1 + index) for j, u in user.items()}
        for index, user in enumerate(users)
    ]
    results = []
    for version in (users, copies):
        interests = interests_of(version)
        vectors = interests.vectors.requires_grad_()
        candidates = torch.tensor(items, requires_grad=True)
        loss = max_interest_cross_entropy(
            replace(interests, vectors=vectors),
            candidates,
            torch.tensor(targets)[interests.users],
        )
        loss.backward()
        results.append((loss.detach(), candidates.grad))
    owners = interests.users.repeat_interleave(interests.counts())
    second = vectors.grad[owners == 1]
    torch.testing.assert_close(second[0], second[1], rtol=1e-12, atol=1e-15)
    assert second.abs().max() > 0
    for one, several in zip(*results, strict=True):
        torch.testing.assert_close(one, several, rtol=1e-12, atol=1e-12)


def test_a_constant_scorer_loses_log_of_the_catalogue(blocks):
    users = [{0: np.zeros(WIDTH), 2: np.zeros(WIDTH)}, {1: np.zeros(WIDTH)}]
    loss = full_loss(users, np.ones((7, WIDTH)), [0, 6])
    assert loss.item() == pytest.approx(math.log(7))


@pytest.mark.parametrize("offset", [-1e3, -1e5, 1e5])
def test_only_active_interests_win_however_low_their_scores(blocks, offset):
    """An inactive interest, whose score would be 0, never wins. Nothing overflows."""
    rng = np.random.default_rng(8)
    users = [
        {j: np.append(offset, rng.normal(size=2)) for j in range(count)} for count in (1, 4, 2, 1)
    ]
    items = np.c_[np.ones(6), rng.normal(size=(6, 2))]
    interests = interests_of(users)
    best = max_over_interests(interests.vectors @ torch.tensor(items).T, interests.groups)
    assert (best * np.sign(offset) > 900).all()
    targets = [5, 0, 3, 3]
    vectors = interests.vectors.requires_grad_()
    loss = max_interest_cross_entropy(
        replace(interests, vectors=vectors),
        torch.tensor(items),
        torch.tensor(targets)[interests.users],
    )
    assert loss.item() == pytest.approx(eq23_full(users, targets, list(items)), rel=1e-9)
    loss.backward()
    assert vectors.grad.isfinite().all()


def test_the_winner_gets_the_gradient():
    users, items, _ = case(9, [3], 1)
    interests = interests_of(users)
    vectors = interests.vectors.requires_grad_()
    loss = max_interest_cross_entropy(
        replace(interests, vectors=vectors),
        torch.tensor(np.r_[items, items + 1e-3]),
        torch.tensor([0]),
    )
    loss.backward()
    won = interests.which[vectors.grad.abs().sum(1) > 0].tolist()
    assert won == [eq17_winner(users[0], items[0])]


def test_order_of_users_changes_nothing():
    users, items, targets = case(10, [1, 2, 3, 3, 6, 1], 8)
    turned = np.random.default_rng(0).permutation(6)
    first = full_loss(users, items, targets)
    second = full_loss([users[i] for i in turned], items, [targets[i] for i in turned])
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


@given(
    groups=st.lists(st.integers(1, 9), min_size=1, max_size=5, unique=True).flatmap(
        lambda ks: st.tuples(*(st.tuples(st.just(k), st.integers(1, 6)) for k in sorted(ks)))
    ),
    max_rows=st.integers(1, 20),
)
@SETTINGS
def test_chunks_cover_every_user_once_and_never_cut_one(groups, max_rows):
    row = user = 0
    pieces = []
    for rows, users, part in chunks_of_users(groups, max_rows):
        assert (rows.start, users.start) == (row, user)
        assert rows.stop - row == sum(k * n for k, n in part)
        assert users.stop - user == sum(n for _, n in part)
        assert rows.stop - row <= max_rows or [n for _, n in part] == [1]
        row, user = rows.stop, users.stop
        pieces += [k for k, n in part for _ in range(n)]
    assert pieces == [k for k, n in groups for _ in range(n)]
