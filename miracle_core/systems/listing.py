"""Lists for many histories at once: the best items of each, and the interest that won each item.

Everything that makes lists for many users comes through here: batches, the Python API, and the
evaluation of rules. Scores come from the one walk over the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.order import top_k
from miracle_core.ranking.seen import Seen
from miracle_core.ranking.walk import CHUNK_ELEMENTS
from miracle_core.systems.scorer import Scorer, VectorScorer


@dataclass(frozen=True)
class Lists:
    """The best items of some of a batch's histories.

    Attributes:
        histories: int64 [users], places in the packed batch.
        scores: [users, K], falling; -inf where there is no candidate left.
        items: int64 [users, K], catalogue items.
        interests: int64 [users, K], the number of the interest that won each item (eq. 17); 0 in a
            system with one interest a user.
    """

    histories: Tensor
    scores: Tensor
    items: Tensor
    interests: Tensor


@torch.inference_mode()
def lists(
    scorer: Scorer,
    packed: Packed,
    k: int,
    ties: Tensor,
    *,
    leave_out: Seen | None = None,
    new: Tensor | None = None,
) -> Iterator[Lists]:
    """The K best items of every history of a batch.

    Args:
        scorer: what ranks.
        packed: the histories. An item from the catalogue's size on is a new one: its row of
            ``new``, plus that size.
        k: how many items; all where there are fewer.
        ties: int64 [items], the order of items with equal scores.
        leave_out: items that are no candidates, users being places in ``packed``.
        new: [new items, w], the inputs of items that the catalogue doesn't hold; only a system
            that ranks by vectors takes them.

    Yields:
        Some histories after another.
    """
    k = min(k, len(ties))
    if not isinstance(scorer, VectorScorer):
        if new is not None:
            raise ValueError("only a system that ranks by vectors takes new items")
        for histories, scores in scorer.scores(packed, leave_out).chunks:
            values, items = top_k(scores, k, ties)
            yield Lists(histories, values, items, torch.zeros_like(items))
        return
    packed = packed.to(scorer.inputs.device)
    interests = scorer.interests(packed, new)
    for part in scorer.walk(packed, interests, leave_out, new=new is not None):
        values, items = top_k(part.scores, k, ties)
        won = winners(interests, scorer.items, part.users, items)
        yield Lists(interests.users[part.users], values, items, won)


def winners(interests: Interests, candidates: Tensor, users: slice, items: Tensor) -> Tensor:
    """Which interest gives each of some items its score, int64 [users, K].

    Args:
        interests: of a batch.
        candidates: [all items, d].
        users: some of ``interests.users``.
        items: int64 [users, K], of each of these users.

    Returns:
        Numbers of interests (``interests.which``); of equal scores the lower one.
    """
    found = torch.empty_like(items)
    per_user = max(items.shape[1] * candidates.shape[1], 1)
    step = max(CHUNK_ELEMENTS // per_user, 1)
    row = user = 0
    for count, n in interests.groups:
        first, last = max(user, users.start), min(user + n, users.stop)
        for start in range(first, last, step):
            stop = min(start + step, last)
            rows = slice(row + (start - user) * count, row + (stop - user) * count)
            vectors = interests.vectors[rows].unflatten(0, (-1, count))
            which = interests.which[rows].view(-1, count)
            part = slice(start - users.start, stop - users.start)
            scores = torch.bmm(vectors, candidates[items[part]].transpose(1, 2))
            found[part] = which.gather(1, scores.argmax(1))
        row, user = row + count * n, user + n
    return found
