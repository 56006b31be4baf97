"""Ranks and top-K of scores, with a fixed order of items that tie.

Items of equal score are ordered by a fixed pseudo-random key of their index. So results repeat, and
a system with the same score for every item ranks them as chance would.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

# A long row is cut into stretches of so many items, and its top K is searched in K of them.
STRETCH = 64


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
    # topk does not say which of equal scores it takes, or in what order: sort such rows again.
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


def _by_score(scores: Tensor, ties: Tensor) -> Tensor:
    """Indices that sort by falling score, then by rising tie order."""
    by_tie = ties.argsort()
    return by_tie[scores[by_tie].argsort(descending=True, stable=True)]
