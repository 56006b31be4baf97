"""Exact top-K and ranks over the whole catalogue, some users at a time.

Scores of a chunk of users over all items exist at once (its size is bounded, and falls as the
catalogue grows); users x items never does. Items that tie are ordered by a fixed pseudo-random key
of their index, so results repeat, and a scorer that says the same of every item ranks them as
chance would.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.errors import MiracleError
from miracle_core.model.capsules import Interests
from miracle_core.model.pieces import max_over_interests
from miracle_core.model.repeats import Repeats
from miracle_core.model.scoring import BLOCK_ELEMENTS, chunks_of_users

# Scores of a chunk of users over the catalogue held at a time: 64 MiB of float32, or MIN_ROWS rows,
# which is less than the catalogue itself takes.
CHUNK_ELEMENTS = 1 << 24
MIN_ROWS = 256
# The top-K of a long row is looked for only in its K stretches of so many items with the best head.
STRETCH = 64
# So few interests are multiplied from the right, a whole number of FEW_STEP at a time: the product
# is then bound by reading the items, where some libraries' product from the left takes six times as
# long.
FEW_ROWS = 16
FEW_STEP = 4


@functools.lru_cache(maxsize=4)
def tie_order(n_items: int) -> Tensor:
    """Where each item stands among items of equal score, int64 [items]: a fixed permutation.

    The key is the index's splitmix64 hash, which has nothing to do with popularity or input order.
    """
    with np.errstate(over="ignore"):
        z = (np.arange(1, n_items + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    order = np.empty(n_items, dtype=np.int64)
    order[np.argsort(z, kind="stable")] = np.arange(n_items)
    return torch.from_numpy(order)


def inner_products(vectors: Tensor, items: Tensor, room: Tensor | None = None) -> Tensor:
    """Of every interest with every item; of few interests as fast as items can be read.

    Args:
        vectors: [interests, d].
        items: [items, d].
        room: at least (interests + FEW_STEP) * items numbers to write to; None for new memory.

    Returns:
        [interests, items].
    """
    rows, columns = len(vectors), len(items)
    few = rows <= FEW_ROWS
    missing = -rows % FEW_STEP if few else 0
    size = (rows + missing) * columns
    room = vectors.new_empty(size) if room is None else room[:size]
    if not few:
        return torch.mm(vectors, items.T, out=room.view(rows, columns))
    filled = F.pad(vectors, (0, 0, 0, missing))
    return torch.mm(items, filled.T, out=room.view(columns, len(filled))).T[:rows]


def score_chunks(
    interests: Interests, items: Tensor, repeats: Repeats | None = None
) -> Iterator[tuple[slice, Tensor]]:
    """Scores (eq. 17) of all items for a chunk of users after another.

    Args:
        interests: the users' active interests.
        items: [items, d].
        repeats: the items that users have had, whose scores gain by it.

    Yields:
        The chunk's users (places in ``interests.users``) and their scores [users, items].

    Raises:
        MiracleError: a score is not finite.
    """
    n_items = items.shape[0]
    vectors = interests.vectors
    if not torch.isfinite(vectors).all():
        raise _not_finite("interests")
    for rows, users, groups in chunks_of_users(
        interests.groups, max(CHUNK_ELEMENTS // n_items, MIN_ROWS)
    ):
        scores = vectors.new_empty(users.stop - users.start, n_items)
        n_rows = rows.stop - rows.start
        width = min(max(BLOCK_ELEMENTS // n_rows, 1), n_items)
        # One buffer for every block: fresh memory costs more than filling it.
        buffer = vectors.new_empty((n_rows + FEW_STEP) * width)
        for start in range(0, n_items, width):
            block = slice(start, min(start + width, n_items))
            raw = inner_products(vectors[rows], items[block], buffer)
            max_over_interests(raw, groups, out=scores[:, block])
        # A bad number in an item's vector spoils its score for every user: one row tells.
        if not torch.isfinite(scores[0]).all():
            raise _not_finite("items" if not torch.isfinite(items).all() else "scores")
        if repeats is not None:
            repeats.among(users).add_to(scores)
        yield users, scores


def _not_finite(what: str) -> MiracleError:
    return MiracleError(
        f"the {what} hold numbers that are not finite",
        remedy="the training diverged: lower the learning rate",
    )


def ranks(scores: Tensor, targets: Tensor, ties: Tensor) -> Tensor:
    """The rank of each user's target among all items, from 1.

    Args:
        scores: [users, items].
        targets: int64 [users].
        ties: int64 [items], from :func:`tie_order`.

    Returns:
        int64 [users].
    """
    own = scores.gather(1, targets.unsqueeze(1))
    # Comparisons are written as ones and zeros of the scores' own type, which sum several times
    # faster than bytes do; float32 counts exactly up to 2^24.
    kind = scores.dtype if scores.shape[1] < 1 << 24 else torch.float64
    flags = torch.empty_like(scores, dtype=kind)
    better = torch.gt(scores, own, out=flags).sum(1).long()
    crowded = (torch.eq(scores, own, out=flags).sum(1) > 1).nonzero().squeeze(1)
    if crowded.numel():
        equal = scores[crowded] == own[crowded]
        before = ties < ties[targets[crowded]].unsqueeze(1)
        better[crowded] += (equal & before).sum(1)
    return better + 1


def top_k(scores: Tensor, k: int, ties: Tensor) -> tuple[Tensor, Tensor]:
    """The K best items of each user, best first, ties in their fixed order.

    Args:
        scores: [users, items].
        k: how many, at most the number of items.
        ties: int64 [items], from :func:`tie_order`.

    Returns:
        Scores [users, K] and items int64 [users, K].
    """
    values, items, crowded = _topk(scores, k)
    # topk leaves open which of equal scores it takes and in what order: mend such rows.
    inside = (values[:, 1:] == values[:, :-1]).any(1)
    for user in crowded.nonzero().squeeze(1).tolist():
        candidates = (scores[user] >= values[user, -1]).nonzero().squeeze(1)
        chosen = _by_score(scores[user, candidates], ties[candidates])[:k]
        items[user] = candidates[chosen]
    for user in (inside & ~crowded).nonzero().squeeze(1).tolist():
        items[user] = items[user, _by_score(values[user], ties[items[user]])]
    return scores.gather(1, items), items


def _topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Some top K of each row, and the rows where more than K reach the K-th value: [users].

    In a long row, the K best lie in the K stretches whose own best are highest, so only those are
    searched: one pass over the row, then a few thousand candidates.
    """
    users, n_items = scores.shape
    stretches = n_items // STRETCH
    if stretches < 4 * k:
        values, items = scores.topk(k, 1)
        return values, items, (scores >= values[:, -1:]).sum(1) > k
    whole = stretches * STRETCH
    split = scores[:, :whole].unflatten(1, (stretches, STRETCH))
    heads = split.amax(2)
    _, chosen = heads.topk(k, 1)
    candidates = (
        chosen.unsqueeze(2) * STRETCH + torch.arange(STRETCH, device=scores.device)
    ).flatten(1)
    rest = torch.arange(whole, n_items, device=scores.device).expand(users, -1)
    candidates = torch.cat([candidates, rest], 1)
    found = scores.gather(1, candidates)
    values, places = found.topk(k, 1)
    last = values[:, -1:]
    crowded = ((found >= last).sum(1) > k) | ((heads >= last).sum(1) > k)
    return values, candidates.gather(1, places), crowded


def best_items(
    interests: Interests, items: Tensor, k: int, repeats: Repeats | None = None
) -> tuple[Tensor, Tensor]:
    """The K best items of every user over the whole catalogue (eq. 17).

    Args:
        interests: the users' active interests.
        items: [items, d].
        k: how many, at most the number of items.
        repeats: the items that users have had, whose scores gain by it.

    Returns:
        Scores [users, K] and items int64 [users, K], in the order of ``interests.users``.
    """
    ties = tie_order(items.shape[0]).to(items.device)
    found = [top_k(scores, k, ties) for _, scores in score_chunks(interests, items, repeats)]
    scores, best = zip(*found, strict=True)
    return torch.cat(scores), torch.cat(best)


def _by_score(scores: Tensor, ties: Tensor) -> Tensor:
    """Indices that sort by falling score, then by rising tie order."""
    by_tie = ties.argsort()
    return by_tie[scores[by_tie].argsort(descending=True, stable=True)]
