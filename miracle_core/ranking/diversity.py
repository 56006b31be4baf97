"""Lists whose items differ: in category (Cen et al. 2020, eq. 13-14), or in their texts (MMR)."""

from __future__ import annotations

import torch
from torch import Tensor


def diversified(
    scores: Tensor, items: Tensor, categories: Tensor, k: int, weight: float
) -> tuple[Tensor, Tensor]:
    """Choose K of each user's candidates, for their scores and for how their categories differ.

        Q(S) = sum over i in S of f(i) + weight * sum over i, j in S of [category i != category j]

    Greedily, as in the paper's algorithm 2: the next item is the one of the largest
    f(i) + weight * (chosen items of another category); of equals the one that stands first. It
    works on any system's candidates; with several interests these are the union of each interest's
    best items, which :func:`~miracle_core.ranking.walk.best_items` gives.

    Args:
        scores: f, [users, n], best first; -inf for what is no candidate, which is chosen last.
        items: int64 [users, n], the candidates' rows of the catalogue.
        categories: int64 [items], any label of each item of the catalogue.
        k: how many are chosen, at most n.
        weight: lambda; 0 leaves the order as it is, a large one spreads over categories first.

    Returns:
        The chosen ones' own scores [users, k] and items int64 [users, k], in the order chosen.

    Raises:
        ValueError: ``k`` is above n or below 1, or the weight is below 0 or not finite.
    """
    users, n = scores.shape
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}, and there are {n} candidates")
    if not 0 <= weight < float("inf"):
        raise ValueError(f"the weight is {weight}; it is to be 0 or more")
    own = categories[items]
    # Of the items chosen so far, how many are of another category than each candidate.
    others = torch.zeros_like(scores)
    taken = torch.zeros(users, n, dtype=torch.bool, device=scores.device)
    row = torch.arange(users, device=scores.device)
    places = torch.empty(users, k, dtype=torch.int64, device=scores.device)
    for step in range(k):
        best = _best(scores + weight * others, taken)
        places[:, step] = best
        taken[row, best] = True
        others += own != own[row, best].unsqueeze(1)
    return scores.gather(1, places), items.gather(1, places)


def marginal_relevance(
    scores: Tensor, items: Tensor, directions: Tensor, k: int, weight: float
) -> tuple[Tensor, Tensor]:
    """Choose K of each user's candidates by maximal marginal relevance (Carbonell, Goldstein 1998).

    The next item is the one of the largest

        (1 - weight) * f(i) - weight * max over chosen j of cos(i, j)

    and of equals the one that stands first. For the first item the maximum is 0.

    Args:
        scores: f, [users, n], best first; -inf for what is no candidate, which is chosen last.
        items: int64 [users, n], the candidates' rows of the catalogue.
        directions: [items, d], text vectors of length 1 (or 0).
        k: how many are chosen, at most n.
        weight: 0 leaves the order as it is, 1 looks at the texts only.

    Returns:
        The chosen ones' own scores [users, k] and items int64 [users, k], in the order chosen.

    Raises:
        ValueError: ``k`` is above n or below 1, or the weight is not from 0 to 1.
    """
    users, n = scores.shape
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}, and there are {n} candidates")
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight is {weight}; it is to be from 0 to 1")
    own = directions[items]
    candidate = scores > -torch.inf
    worth = torch.where(candidate, (1 - weight) * scores, -torch.inf)
    nearest = torch.zeros_like(scores)
    taken = torch.zeros(users, n, dtype=torch.bool, device=scores.device)
    row = torch.arange(users, device=scores.device)
    places = torch.empty(users, k, dtype=torch.int64, device=scores.device)
    for step in range(k):
        best = _best(worth - weight * nearest, taken)
        places[:, step] = best
        taken[row, best] = True
        near = torch.bmm(own, own[row, best].unsqueeze(2)).squeeze(2)
        nearest = near if step == 0 else torch.maximum(nearest, near)
    return scores.gather(1, places), items.gather(1, places)


def _best(value: Tensor, taken: Tensor) -> Tensor:
    """The best place of each user that is not taken, int64 [users]; of equal ones the first.

    Args:
        value: [users, n]; where only -inf is left, the first place counts as the best.
        taken: bool [users, n].
    """
    left = value.masked_fill(taken, -torch.inf)
    none = left.amax(1) == -torch.inf
    return torch.where(none, (~taken).to(torch.uint8).argmax(1), left.argmax(1))
