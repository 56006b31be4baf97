"""The kernels of :mod:`miracle_core.model.kernels`, in Triton's language.

A program takes a tile of users with equally many interests k and walks over tiles of items: k
products, their max, a running log-sum-exp. For the gradients the scores are computed again, once
from the users' side and once from the items'. A row of a gradient is written by one program only.

What a score gains as a repeat is added where the walks meet the score, as a bias is. (To walk
without it and put the few repeated pairs right afterwards would subtract them from a sum that they
are most of: a history's own items are nearest to its interests.) A tile finds its pairs by binary
search in each user's rising items, so a tile without any costs little, and nothing is stored but
the list of pairs.

Importing this module needs triton.
"""

# A kernel's arguments are pointers and numbers of Triton's own, which have no Python types.
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

import triton
import triton.language as tl

# Numbers that differ from batch to batch, and tensors that begin anywhere: a kernel compiled for
# each kind of them would be compiled again and again.
VARYING = ["n_users", "n_items", "rounds"]
UNALIGNED = ["targets", "target_bias", "bounds", "normaliser", "own_logit", "repeated"]


@triton.jit
def _scores(vectors, items, users, j, columns, n_users, n_items, k, width, WIDTHS: tl.constexpr):
    """Scores of the users' j-th interest with some items: [USERS, ITEMS]."""
    rows = (users.to(tl.int64) * k + j) * width
    places = columns.to(tl.int64) * width
    kind = tl.float64 if vectors.dtype.element_ty == tl.float64 else tl.float32
    scores = tl.zeros([users.shape[0], columns.shape[0]], dtype=kind)
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
def _first(had, low, high, item, rounds):
    """The first places between ``low`` and ``high`` of rising items that reach ``item``."""
    for _ in range(rounds):
        middle = (low + high) // 2
        below = tl.load(had + middle, mask=low < high, other=0) < item
        # Where the search is over, all three are one place, and stay.
        low, high = tl.where(below & (low < high), middle + 1, low), tl.where(below, high, middle)
    return low


@triton.jit
def _repeats(had, bounds, users, columns, n_users, rounds):
    """Which of the tile's items the users have had: [USERS, ITEMS]."""
    there = users < n_users
    low = tl.load(bounds + users, mask=there, other=0)
    high = tl.load(bounds + users + 1, mask=there, other=0)
    start = tl.min(columns, 0)
    low = _first(had, low, high, start, rounds)
    count = _first(had, low, high, start + columns.shape[0], rounds) - low
    repeat = tl.zeros([users.shape[0], columns.shape[0]], dtype=tl.int1)
    for i in range(tl.max(count, 0)):
        item = tl.load(had + low + i, mask=i < count, other=-1)
        repeat = repeat | (columns[None, :] == item[:, None])
    return repeat


@triton.jit
def _logits(
    best, users, columns, n_users, n_items, targets, scale, item_bias, target_bias,
    had, bounds, gain, rounds,
    ITEM_BIAS: tl.constexpr, TARGET_BIAS: tl.constexpr, REPEATS: tl.constexpr,
):  # fmt: skip
    """Biased, scaled scores, -inf beyond the catalogue; where targets and where repeats are."""
    target = tl.load(targets + users, mask=users < n_users, other=-1)
    own = columns[None, :] == target[:, None]
    logits = best * scale
    if ITEM_BIAS:
        bias = tl.load(item_bias + columns, mask=columns < n_items, other=0.0)[None, :]
        if TARGET_BIAS:
            mine = tl.load(target_bias + users, mask=users < n_users, other=0.0)[:, None]
            logits += tl.where(own, mine, bias).to(best.dtype)
        else:
            logits += bias.to(best.dtype)
    repeat = tl.zeros(best.shape, dtype=tl.int1)
    if REPEATS:
        repeat = _repeats(had, bounds, users, columns, n_users, rounds)
        logits += tl.where(repeat, tl.load(gain).to(best.dtype) * scale, 0.0)
    return tl.where((columns < n_items)[None, :], logits, -float("inf")), own, repeat


@triton.jit(do_not_specialize=VARYING, do_not_specialize_on_alignment=UNALIGNED)
def loss_kernel(
    vectors, items, targets, item_bias, target_bias, had, bounds, gain,
    normaliser, own_logit, repeated,
    n_users, n_items, k, width, scale, rounds, least,
    ITEM_BIAS: tl.constexpr, TARGET_BIAS: tl.constexpr, REPEATS: tl.constexpr,
    USERS: tl.constexpr, ITEMS: tl.constexpr, WIDTHS: tl.constexpr,
):  # fmt: skip
    """Each user's log-sum-exp over all items, its target's logit, and d(loss)/d(gain x scale)."""
    users = tl.program_id(0) * USERS + tl.arange(0, USERS)
    kind = normaliser.dtype.element_ty
    # The least finite number, not -inf: a whole tile may be biased to -inf.
    high = tl.full([USERS], 0.0, dtype=kind) + least
    total = tl.zeros([USERS], dtype=kind)
    target_logit = tl.zeros([USERS], dtype=kind)
    of_repeats = tl.zeros([USERS], dtype=kind)
    target_repeats = tl.zeros([USERS], dtype=kind)
    for start in range(0, n_items, ITEMS):
        columns = start + tl.arange(0, ITEMS)
        best, _ = _best(vectors, items, users, columns, n_users, n_items, k, width, WIDTHS)
        logits, own, repeat = _logits(
            best, users, columns, n_users, n_items, targets, scale, item_bias, target_bias,
            had, bounds, gain, rounds, ITEM_BIAS, TARGET_BIAS, REPEATS,
        )  # fmt: skip
        target_logit += tl.sum(tl.where(own, logits, 0.0), 1)
        higher = tl.maximum(high, tl.max(logits, 1))
        powers = tl.exp(logits - higher[:, None])
        shrink = tl.exp(high - higher)
        total = total * shrink + tl.sum(powers, 1)
        if REPEATS:
            of_repeats = of_repeats * shrink + tl.sum(tl.where(repeat, powers, 0.0), 1)
            target_repeats += tl.sum(tl.where(own & repeat, 1.0, 0.0), 1)
        high = higher
    tl.store(normaliser + users, high + tl.log(total), mask=users < n_users)
    tl.store(own_logit + users, target_logit, mask=users < n_users)
    if REPEATS:
        tl.store(repeated + users, of_repeats / total - target_repeats, mask=users < n_users)


@triton.jit
def _share(
    vectors, items, targets, item_bias, target_bias, had, bounds, gain, normaliser, users, columns,
    n_users, n_items, k, width, scale, rounds,
    ITEM_BIAS: tl.constexpr, TARGET_BIAS: tl.constexpr, REPEATS: tl.constexpr,
    WIDTHS: tl.constexpr,
):  # fmt: skip
    """The best scores of a tile and d(loss)/d(best x scale) for each interest that reaches them."""
    best, ties = _best(vectors, items, users, columns, n_users, n_items, k, width, WIDTHS)
    logits, own, _ = _logits(
        best, users, columns, n_users, n_items, targets, scale, item_bias, target_bias,
        had, bounds, gain, rounds, ITEM_BIAS, TARGET_BIAS, REPEATS,
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
        added = tl.dot(share.to(factor.dtype), factor, input_precision="ieee")
        tl.store(place, tl.load(place, mask=mask, other=0.0) + added, mask=mask)
    # The next product's sums are read back, perhaps by other threads of this program.
    tl.debug_barrier()


@triton.jit(do_not_specialize=VARYING, do_not_specialize_on_alignment=UNALIGNED)
def gradient_kernel(
    vectors, items, targets, item_bias, target_bias, had, bounds, gain, normaliser,
    d_vectors, d_items,
    n_users, n_items, k, width, scale, rounds,
    OF_ITEMS: tl.constexpr,
    ITEM_BIAS: tl.constexpr, TARGET_BIAS: tl.constexpr, REPEATS: tl.constexpr,
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
            vectors, items, targets, item_bias, target_bias, had, bounds, gain, normaliser,
            users, columns, n_users, n_items, k, width, scale, rounds,
            ITEM_BIAS, TARGET_BIAS, REPEATS, WIDTHS,
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
