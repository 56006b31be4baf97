"""Histories ranked under rules, and their lists: the best items, and the interest that won each.

Everything that makes lists for many users comes through here: batches, the Python API, and
evaluation. Scores come from the one walk over the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.ranking.applied import Applied
from miracle_core.ranking.interests import Interests, group_slices
from miracle_core.ranking.order import top_k
from miracle_core.ranking.seen import Seen
from miracle_core.ranking.walk import CHUNK_ELEMENTS, Scored
from miracle_core.systems.scorer import Scorer, VectorScorer


@dataclass(frozen=True)
class RankedPart:
    """The scores of some of a batch's histories.

    Attributes:
        histories: int64 [users], places in the packed batch.
        scores: [users, items]; -inf for what is no candidate.
        scored: the same as the walk gave it; None for a system without vectors.
    """

    histories: Tensor
    scores: Tensor
    scored: Scored | None


@dataclass(frozen=True)
class Ranked:
    """A batch, ranked.

    Attributes:
        interests: those that count; None for a system without vectors.
        histories: int64 [users], the packed history of each of ``interests.users``; histories
            without an interest that counts are left out. None for a system without vectors.
        parts: the scores, some histories at a time.
    """

    interests: Interests | None
    histories: Tensor | None
    parts: Iterator[RankedPart]


@dataclass(frozen=True)
class Lists:
    """The best items of some of a batch's histories.

    Attributes:
        histories: int64 [users], places in the packed batch.
        scores: [users, K], falling unless the rules order otherwise; -inf where no candidate is
            left.
        items: int64 [users, K], catalogue items.
        interests: int64 [users, K], the number of the interest that won each item (eq. 17); 0 in a
            system with one interest a user.
    """

    histories: Tensor
    scores: Tensor
    items: Tensor
    interests: Tensor


def ranked(
    scorer: Scorer,
    packed: Packed,
    *,
    leave_out: Seen | None = None,
    new: Tensor | None = None,
    rules: Applied | None = None,
) -> Ranked:
    """Scores of all items for a batch of histories, under rules.

    Args:
        scorer: what ranks.
        packed: the histories. An item from the catalogue's size on is a new one: its row of
            ``new``, plus that size.
        leave_out: items that are no candidates, users being places in ``packed``.
        new: [new items, w], the inputs of items that the catalogue doesn't hold; only a system
            that ranks by vectors takes them.
        rules: who competes; None: all do.

    Raises:
        ValueError: ``new`` items for a system that ranks without vectors.
    """
    if not isinstance(scorer, VectorScorer):
        if new is not None:
            raise ValueError("only a system that ranks by vectors takes new items")
        answer = scorer.scores(packed, leave_out)
        parts = (RankedPart(histories, scores, None) for histories, scores in answer.chunks)
        return Ranked(answer.interests, None, _under(rules, parts))
    packed = packed.to(scorer.inputs.device)
    interests = scorer.interests(packed, new)
    histories, chosen = interests.users, None
    if rules is not None:
        interests, chosen = rules.interests(interests)
    if chosen is not None:
        packed, _ = packed.select(chosen)
        histories = chosen.nonzero().squeeze(1)[interests.users]
        leave_out = None if leave_out is None else leave_out.of_some(chosen)
    each = rules is not None and rules.rules.quota > 0
    walked: Iterator[Scored] = iter(())
    if interests.n_users:
        walked = scorer.walk(packed, interests, leave_out, new=new is not None, each=each)
    found = (RankedPart(histories[part.users], part.scores, part) for part in walked)
    return Ranked(interests, histories, _under(rules, found))


def _under(rules: Applied | None, parts: Iterator[RankedPart]) -> Iterator[RankedPart]:
    with torch.inference_mode():
        for part in parts:
            if rules is not None:
                rules.leave_out(part.scores)
            yield part


def best(
    part: RankedPart, k: int, ties: Tensor, rules: Applied | None = None
) -> tuple[Tensor, Tensor]:
    """The list of each history of a part: scores and items int64, [users, K].

    Args:
        part: the scores.
        k: how many items, at most as many as there are.
        ties: int64 [items], the order of items with equal scores.
        rules: what a list holds.
    """
    if rules is None or not rules.rules.of_lists:
        return top_k(part.scores, k, ties)
    each, groups = (None, ()) if part.scored is None else (part.scored.each, part.scored.groups)
    return rules.best(part.scores, each, groups, k, ties)


@torch.inference_mode()
def lists(
    scorer: Scorer,
    packed: Packed,
    k: int,
    ties: Tensor,
    *,
    leave_out: Seen | None = None,
    new: Tensor | None = None,
    rules: Applied | None = None,
) -> Iterator[Lists]:
    """The list of each history of a batch that has an interest that counts.

    Args:
        scorer: what ranks.
        packed: the histories, as :func:`ranked` takes them.
        k: how many items; all where there are fewer.
        ties: int64 [items], the order of items with equal scores.
        leave_out: items that are no candidates, users being places in ``packed``.
        new: [new items, w], the inputs of items that the catalogue doesn't hold.
        rules: of the lists.

    Yields:
        The lists of some histories at a time.
    """
    k = min(k, len(ties))
    found = ranked(scorer, packed, leave_out=leave_out, new=new, rules=rules)
    for part in found.parts:
        values, items = best(part, k, ties, rules)
        won = torch.zeros_like(items)
        if part.scored is not None and found.interests is not None:
            assert isinstance(scorer, VectorScorer)
            won = winners(found.interests, scorer.items, part.scored.users, items)
        yield Lists(part.histories, values, items, won)


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
    for count, own, group in group_slices(interests.groups):
        first, last = max(group.start, users.start), min(group.stop, users.stop)
        # Where the interests of user 0 would lie if all users were of this group.
        base = own.start - group.start * count
        if count == 1 and first < last:
            of_each = interests.which[base + first : base + last]
            found[first - users.start : last - users.start] = of_each.unsqueeze(1)
            continue
        for start in range(first, last, step):
            stop = min(start + step, last)
            rows = slice(base + start * count, base + stop * count)
            vectors = interests.vectors[rows].unflatten(0, (-1, count))
            which = interests.which[rows].view(-1, count)
            part = slice(start - users.start, stop - users.start)
            scores = torch.bmm(vectors, candidates[items[part]].transpose(1, 2))
            if interests.added is not None:
                scores += interests.added[rows].view(-1, count, 1)
            found[part] = which.gather(1, scores.argmax(1))
    return found
