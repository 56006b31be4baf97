"""Places for every interest of a user in one list."""

from __future__ import annotations

import torch
from torch import Tensor

from miracle_core.ranking.interests import Groups, group_slices
from miracle_core.ranking.order import in_order, top_k


def with_quotas(
    scores: Tensor,
    each: Tensor,
    groups: Groups,
    quota: int,
    k: int,
    ties: Tensor,
) -> tuple[Tensor, Tensor]:
    """The K best items of every user, with ``quota`` places for each interest.

    An item belongs to the interest that gives it its score (eq. 17), of equal ones to the first. In
    the first round every interest takes the best item that it won, in the second its second best,
    and so on for ``quota`` rounds. In each round interests whose best item has the higher score
    come first. An interest that won fewer items has fewer places. The rounds end when K places are
    taken. Places that are left go to the best of the other items. The list is then sorted by score.

    Args:
        scores: [users, items], with gain and boosts; -inf for what is no candidate.
        each: [interests, items], the score under each interest before the gain was added; -inf
            where an interest doesn't count.
        groups: (interests a user, users) of each run of users.
        quota: places for each interest.
        k: places of the list, at most the number of items.
        ties: int64 [items], the order of items with equal scores.

    Returns:
        Scores and items int64, both [users, K]; -inf where no candidate is left.
    """
    reserved = torch.zeros_like(scores, dtype=torch.bool)
    for count, rows, users in group_slices(groups):
        own = each[rows].unflatten(0, (-1, count))
        _reserve(scores[users], own, min(quota, k), k, ties, reserved[users])
    # Reserved items come before all others; then the best ones.
    _, items = top_k(scores.masked_fill(reserved, torch.inf), k, ties)
    return in_order(scores.gather(1, items), items, ties)


def _reserve(
    scores: Tensor, each: Tensor, quota: int, k: int, ties: Tensor, reserved: Tensor
) -> None:
    """Mark the places of every interest, in place.

    Args:
        scores: [users, items].
        each: [users, interests, items].
        quota: rounds.
        k: places.
        ties: int64 [items].
        reserved: bool [users, items], to be written to.
    """
    users, count, _ = each.shape
    winner = each.argmax(1)
    values, items = [], []
    for interest in range(count):
        won = scores.masked_fill(winner != interest, -torch.inf)
        best = top_k(won, quota, ties)
        values.append(best[0])
        items.append(best[1])
    value, item = torch.stack(values, 1), torch.stack(items, 1)  # [users, interests, quota]
    order = value[:, :, 0].argsort(dim=1, descending=True, stable=True)
    turn = order.unsqueeze(2).expand_as(value)
    # Round after round, and within a round the interests in turn: [users, quota * interests].
    value = value.gather(1, turn).transpose(1, 2).reshape(users, -1)
    item = item.gather(1, turn).transpose(1, 2).reshape(users, -1)
    taken = torch.isfinite(value)
    taken &= taken.cumsum(1) <= k
    who = torch.arange(users, device=scores.device).unsqueeze(1).expand_as(item)
    reserved[who[taken], item[taken]] = True
