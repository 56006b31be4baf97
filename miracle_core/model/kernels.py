"""The max-over-interests cross-entropy as Triton kernels (eq. 17, 23), for CUDA.

**Checked in Triton's interpreter only, on a CPU: never yet compiled for, run or timed on a GPU.**
So nothing uses it unless asked (``max_interest_cross_entropy(..., triton=True)``), and the blocked
PyTorch version stays the tested default.

A program takes a tile of users with equally many interests k and walks over tiles of items: k
products, their max, a running log-sum-exp. For the gradients the scores are computed again, once
from the users' side and once from the items'. A row of a gradient is written by one program only,
so there are no atomic sums and results repeat. Beyond the inputs and their gradients two numbers a
user are kept.

Importing this module needs triton.
"""

# A kernel's arguments are pointers and numbers of Triton's own, which have no Python types.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

Groups = tuple[tuple[int, int], ...]

# Users, items and widths of a tile; a GPU's matrix units want at least 16 of each.
USERS, ITEMS, WIDTHS = 32, 64, 32
# Of float32, in which Triton passes numbers.
LEAST = torch.finfo(torch.float32).min


@triton.jit
def _scores(vectors, items, users, j, columns, n_users, n_items, k, width, WIDTHS: tl.constexpr):
    """Scores of the users' j-th interest with some items: [USERS, ITEMS]."""
    rows = (users.to(tl.int64) * k + j) * width
    places = columns.to(tl.int64) * width
    scores = tl.zeros([users.shape[0], columns.shape[0]], dtype=vectors.dtype.element_ty)
    for start in range(0, width, WIDTHS):
        d = start + tl.arange(0, WIDTHS)
        u = tl.load(
            vectors + rows[:, None] + d[None, :],
            mask=(users < n_users)[:, None] & (d < width)[None, :],
            other=0.0,
        )
        x = tl.load(
            items + places[None, :] + d[:, None],
            mask=(columns < n_items)[None, :] & (d < width)[:, None],
            other=0.0,
        )
        scores += tl.dot(u, x, input_precision="ieee")
    return scores


@triton.jit
def _best(vectors, items, users, columns, n_users, n_items, k, width, WIDTHS: tl.constexpr):
    """The best of each user's interests for some items, and how many interests reach it."""
    best = _scores(vectors, items, users, 0, columns, n_users, n_items, k, width, WIDTHS)
    ties = tl.full(best.shape, 1.0, dtype=best.dtype)
    for j in range(1, k):
        s = _scores(vectors, items, users, j, columns, n_users, n_items, k, width, WIDTHS)
        ties = tl.where(s > best, 1.0, tl.where(s == best, ties + 1.0, ties))
        best = tl.maximum(best, s)
    return best, ties


@triton.jit
def _logits(
    best, users, columns, n_users, n_items, targets, scale, item_bias, target_bias,
    ITEM_BIAS: tl.constexpr, TARGET_BIAS: tl.constexpr,
):  # fmt: skip
    """Biased, scaled scores, -inf beyond the catalogue, and which are the users' targets'."""
    target = tl.load(targets + users, mask=users < n_users, other=-1)
    own = columns[None, :] == target[:, None]
    logits = best * scale
    if ITEM_BIAS:
        bias = tl.load(item_bias + columns, mask=columns < n_items, other=0.0)[None, :]
        if TARGET_BIAS:
            mine = tl.load(target_bias + users, mask=users < n_users, other=0.0)[:, None]
            logits += tl.where(own, mine, bias)
        else:
            logits += bias
    return tl.where((columns < n_items)[None, :], logits, -float("inf")), own


@triton.jit
def _loss_kernel(
    vectors, items, targets, item_bias, target_bias, normaliser, own_logit,
    n_users, n_items, k, width, scale, least,
    ITEM_BIAS: tl.constexpr, TARGET_BIAS: tl.constexpr,
    USERS: tl.constexpr, ITEMS: tl.constexpr, WIDTHS: tl.constexpr,
):  # fmt: skip
    """Each user's log-sum-exp over all items and its target's logit."""
    users = tl.program_id(0) * USERS + tl.arange(0, USERS)
    kind = vectors.dtype.element_ty
    # The least finite number, not -inf: a whole tile may be biased to -inf.
    high = tl.full([USERS], 0.0, dtype=kind) + least
    total = tl.zeros([USERS], dtype=kind)
    target_logit = tl.zeros([USERS], dtype=kind)
    for start in range(0, n_items, ITEMS):
        columns = start + tl.arange(0, ITEMS)
        best, _ = _best(vectors, items, users, columns, n_users, n_items, k, width, WIDTHS)
        logits, own = _logits(
            best, users, columns, n_users, n_items, targets, scale, item_bias, target_bias,
            ITEM_BIAS, TARGET_BIAS,
        )  # fmt: skip
        target_logit += tl.sum(tl.where(own, logits, 0.0), 1)
        higher = tl.maximum(high, tl.max(logits, 1))
        total = total * tl.exp(high - higher) + tl.sum(tl.exp(logits - higher[:, None]), 1)
        high = higher
    tl.store(normaliser + users, high + tl.log(total), mask=users < n_users)
    tl.store(own_logit + users, target_logit, mask=users < n_users)


@triton.jit
def _share(
    vectors, items, targets, item_bias, target_bias, normaliser, users, columns,
    n_users, n_items, k, width, scale,
    ITEM_BIAS: tl.constexpr, TARGET_BIAS: tl.constexpr, WIDTHS: tl.constexpr,
):  # fmt: skip
    """The best scores of a tile and d(loss)/d(best x scale) for each interest that reaches them."""
    best, ties = _best(vectors, items, users, columns, n_users, n_items, k, width, WIDTHS)
    logits, own = _logits(
        best, users, columns, n_users, n_items, targets, scale, item_bias, target_bias,
        ITEM_BIAS, TARGET_BIAS,
    )  # fmt: skip
    norm = tl.load(normaliser + users, mask=users < n_users, other=0.0)
    weight = (tl.exp(logits - norm[:, None]) - tl.where(own, 1.0, 0.0)) / ties
    return best, tl.where((users < n_users)[:, None] & (columns < n_items)[None, :], weight, 0.0)


@triton.jit
def _add(out, rows, wanted, width, share, other, other_rows, other_wanted, WIDTHS: tl.constexpr):
    """Add share @ other[other_rows] to out[rows]; nobody else writes these rows meanwhile."""
    for start in range(0, width, WIDTHS):
        d = start + tl.arange(0, WIDTHS)
        inside = (d < width)[None, :]
        factor = tl.load(
            other + other_rows[:, None] * width + d[None, :],
            mask=other_wanted[:, None] & inside,
            other=0.0,
        )
        place = out + rows[:, None] * width + d[None, :]
        mask = wanted[:, None] & inside
        sums = tl.load(place, mask=mask, other=0.0) + tl.dot(share, factor, input_precision="ieee")
        tl.store(place, sums, mask=mask)
    # The next product's sums are read back, perhaps by other threads of this program.
    tl.debug_barrier()


@triton.jit
def _gradient_kernel(
    vectors, items, targets, item_bias, target_bias, normaliser, d_vectors, d_items,
    n_users, n_items, k, width, scale,
    OF_ITEMS: tl.constexpr, ITEM_BIAS: tl.constexpr, TARGET_BIAS: tl.constexpr,
    USERS: tl.constexpr, ITEMS: tl.constexpr, WIDTHS: tl.constexpr,
):  # fmt: skip
    """Add to the gradient of a tile of items (all users), or of users' interests (all items)."""
    tile = tl.program_id(0)
    end = n_users if OF_ITEMS else n_items
    step: tl.constexpr = USERS if OF_ITEMS else ITEMS
    for start in range(0, end, step):
        users = (start if OF_ITEMS else tile * USERS) + tl.arange(0, USERS)
        columns = (tile * ITEMS if OF_ITEMS else start) + tl.arange(0, ITEMS)
        best, weight = _share(
            vectors, items, targets, item_bias, target_bias, normaliser, users, columns,
            n_users, n_items, k, width, scale, ITEM_BIAS, TARGET_BIAS, WIDTHS,
        )  # fmt: skip
        for j in range(k):
            s = _scores(vectors, items, users, j, columns, n_users, n_items, k, width, WIDTHS)
            share = tl.where(s == best, weight, 0.0)
            rows = users.to(tl.int64) * k + j
            places = columns.to(tl.int64)
            if OF_ITEMS:
                _add(
                    d_items, places, columns < n_items, width,
                    tl.trans(share), vectors, rows, users < n_users, WIDTHS,
                )  # fmt: skip
            else:
                _add(
                    d_vectors, rows, users < n_users, width,
                    share, items, places, columns < n_items, WIDTHS,
                )  # fmt: skip


def cross_entropy(
    vectors: Tensor,
    items: Tensor,
    targets: Tensor,
    groups: Groups,
    scale: float,
    item_bias: Tensor | None,
    target_bias: Tensor | None,
) -> Tensor:
    """What :func:`miracle_core.model.scoring.max_interest_cross_entropy` says.

    Args:
        vectors: [interests, d], in the order of :class:`Interests`, like ``groups``.
        items: [items, d].
        targets: int64 [users].
        groups: (interests a user, users) of each run.
        scale: what scores are multiplied with.
        item_bias: [items] or None.
        target_bias: [users] or None.
    """
    loss: Tensor = _CrossEntropy.apply(
        vectors, items, targets, groups, scale, item_bias, target_bias
    )
    return loss


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        items: Tensor,
        targets: Tensor,
        groups: Groups,
        scale: float,
        item_bias: Tensor | None,
        target_bias: Tensor | None,
    ) -> Tensor:
        vectors, items = vectors.contiguous(), items.contiguous()
        normaliser = vectors.new_empty(targets.numel())
        own = torch.empty_like(normaliser)
        given = (vectors, items, targets, item_bias, target_bias, normaliser)
        for (k, n), _, users, tensors in _of_groups(groups, given):
            _loss_kernel[(triton.cdiv(n, USERS),)](
                *tensors,
                own[users],
                *(n, len(items), k, items.shape[1], scale, LEAST),
                *(item_bias is not None, target_bias is not None, USERS, ITEMS, WIDTHS),
            )
        ctx.save_for_backward(*given)
        ctx.groups, ctx.scale = groups, scale
        return (normaliser - own).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
        given = ctx.saved_tensors
        vectors, items, _, item_bias, target_bias, normaliser = given
        d_vectors, d_items = torch.zeros_like(vectors), torch.zeros_like(items)
        wanted = [side for side in (False, True) if ctx.needs_input_grad[int(side)]]
        for (k, n), rows, _, tensors in _of_groups(ctx.groups, given):
            for of_items in wanted:
                tiles = triton.cdiv(len(items), ITEMS) if of_items else triton.cdiv(n, USERS)
                _gradient_kernel[(tiles,)](
                    *tensors,
                    d_vectors[rows],
                    d_items,
                    *(n, len(items), k, items.shape[1], ctx.scale, of_items),
                    *(item_bias is not None, target_bias is not None, USERS, ITEMS, WIDTHS),
                )
        factor = d_loss * (ctx.scale / normaliser.numel())
        return d_vectors * factor, d_items * factor, None, None, None, None, None


def _of_groups(
    groups: Groups, given: tuple[Any, ...]
) -> Iterator[tuple[tuple[int, int], slice, slice, tuple[Tensor, ...]]]:
    """Each group with its rows of interests, its users, and its part of the kernels' inputs.

    A kernel that is told to leave a bias out is given some other tensor in its place.
    """
    vectors, items, targets, item_bias, target_bias, normaliser = given
    row = user = 0
    for k, n in groups:
        rows, users = slice(row, row + k * n), slice(user, user + n)
        item = items if item_bias is None else item_bias
        target = items if target_bias is None else target_bias[users]
        part = (vectors[rows], items, targets[users], item, target, normaliser[users])
        yield (k, n), rows, users, part
        row, user = rows.stop, users.stop
