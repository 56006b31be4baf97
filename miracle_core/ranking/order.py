"""Ranks and top-K of scores, with a fixed order of items that tie.

Items of equal score are ordered by a fixed pseudo-random key of their index. So results repeat, and
a system with the same score for every item ranks them as chance would.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from miracle_core.ranking.draws import GOLDEN, mixed

# A long row is cut into stretches of so many items, and its top K is searched in K of them.
STRETCH = 64


@functools.lru_cache(maxsize=4)
def tie_order(n_items: int) -> Tensor:
    """Where each item stands among items of equal score, int64 [items]: a fixed permutation.

    The key is the index's splitmix64 hash, which has nothing to do with popularity or input order.
    """
    keys = mixed(torch.arange(1, n_items + 1) * GOLDEN)
    # The keys in the order of unsigned numbers: the first bit is turned around.
    return (keys ^ torch.iinfo(torch.int64).min).argsort().argsort()


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
        candidates = (scores[user] >= values[user, -1]).nonzero().T
        items[user] = in_order(scores[user, candidates], candidates, ties)[1][0, :k]
    again = inside & ~crowded
    items[again] = in_order(values[again], items[again], ties)[1]
    return scores.gather(1, items), items


def in_order(scores: Tensor, items: Tensor, ties: Tensor) -> tuple[Tensor, Tensor]:
    """Lists sorted by falling score, then by rising tie order.

    Args:
        scores: [users, n].
        items: int64 [users, n].
        ties: int64 [all items], from :func:`tie_order`.

    Returns:
        Scores and items, both [users, n].
    """
    by_tie = ties[items].argsort(1)
    scores, items = scores.gather(1, by_tie), items.gather(1, by_tie)
    order = scores.argsort(dim=1, descending=True, stable=True)
    return scores.gather(1, order), items.gather(1, order)


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
