"""The one walk over the catalogue: scores (eq. 17) of all items, some users at a time.

The scores of a chunk of users over all items are in memory at once. Chunks are smaller for larger
catalogues, so users x items never is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.errors import MiracleError
from miracle_core.launches import at_once
from miracle_core.ranking.interests import Groups, Interests
from miracle_core.ranking.loss import BLOCK_ELEMENTS, chunks_of_users
from miracle_core.ranking.order import tie_order, top_k
from miracle_core.ranking.pieces import max_over_interests
from miracle_core.ranking.seen import HadItems

# Scores of a chunk of users over the catalogue held at a time: 64 MiB of float32, or MIN_ROWS rows,
# which is less than the catalogue itself takes.
CHUNK_ELEMENTS = 1 << 24
MIN_ROWS = 256
# The same on a processor where users have one interest: 2 MiB, which are still in its caches when
# ranks are counted, or CACHED_MIN_ROWS rows, since products of fewer take longer. With several
# interests their products would not fit, so the limit is not used.
CACHED_ELEMENTS = 1 << 19
CACHED_MIN_ROWS = 64
# Up to FEW_ROWS interests are multiplied from the right, padded to a multiple of FEW_STEP. The
# product then takes as long as reading the items. From the left some libraries take six times as
# long.
FEW_ROWS = 16
FEW_STEP = 4


def inner_products(vectors: Tensor, items: Tensor, room: Tensor | None = None) -> Tensor:
    """Inner products of every interest with every item; for few interests as fast as reading items.

    Args:
        vectors: [interests, d].
        items: [items, d].
        room: a buffer of at least (interests + FEW_STEP) * items numbers; None for new memory.

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


class Gains(Protocol):
    """What is added to the scores of users, such as the seen rule's gain."""

    def among(self, users: slice) -> Gains:
        """The same of some users, who are then counted from 0."""

    def add_to(self, scores: Tensor) -> None:
        """Add to scores of all candidates, [users, candidates], in place."""


@dataclass(frozen=True)
class Scored:
    """The scores of some users over the whole catalogue.

    Attributes:
        users: which of ``Interests.users`` these are.
        scores: [users, items].
        each: [interests, items], the score under each interest, before gains are added; None where
            it was not asked for.
        groups: (interests a user, users) of each run of these users.
    """

    users: slice
    scores: Tensor
    each: Tensor | None = None
    groups: Groups = ()


def walk(
    interests: Interests, items: Tensor, *gains: Gains | None, each: bool = False
) -> Iterator[Scored]:
    """Scores (eq. 17) of all items, for one chunk of users after another.

    Args:
        interests: the users' interests.
        items: [items, d].
        gains: what is added to scores; users as in ``interests.users``.
        each: keep the score under each interest; for few users.

    Yields:
        The scores of a chunk.

    Raises:
        MiracleError: a score is not finite.
    """
    n_items = items.shape[0]
    vectors = interests.vectors
    if not torch.isfinite(vectors).all():
        raise _not_finite("interests")
    # With one interest a user the products are the scores.
    alone = not each and all(k == 1 for k, _ in interests.groups)
    max_rows = max(CHUNK_ELEMENTS // n_items, MIN_ROWS)
    if alone and not at_once(vectors):
        max_rows = max(CACHED_ELEMENTS // n_items, CACHED_MIN_ROWS)
    for rows, users, groups in chunks_of_users(interests.groups, max_rows):
        scores = vectors.new_empty(users.stop - users.start, n_items)
        n_rows = rows.stop - rows.start
        width = min(max(BLOCK_ELEMENTS // n_rows, 1), n_items)
        straight = alone and n_rows > FEW_ROWS
        # One buffer for every block: fresh memory costs more than filling it.
        buffer = None if straight else vectors.new_empty((n_rows + FEW_STEP) * width)
        kept = None
        for start in range(0, n_items, width):
            block = slice(start, min(start + width, n_items))
            if straight:
                raw = torch.mm(vectors[rows], items[block].T, out=scores[:, block])
            else:
                raw = inner_products(vectors[rows], items[block], buffer)
            if interests.added is not None:
                raw += interests.added[rows].unsqueeze(1)
            if interests.active is not None:
                raw.masked_fill_(interests.active[rows].logical_not().unsqueeze(1), -torch.inf)
            if not straight:
                max_over_interests(raw, groups, out=scores[:, block])
            if each and width == n_items:
                kept = raw
            elif each:
                kept = vectors.new_empty(n_rows, n_items) if kept is None else kept
                kept[:, block] = raw
        # A bad number in an item's vector spoils its score for every user, so the first user shows.
        if users.start == 0 and not torch.isfinite(scores[0]).all():
            raise _not_finite("items" if not torch.isfinite(items).all() else "scores")
        for gain in gains:
            if gain is not None:
                gain.among(users).add_to(scores)
        yield Scored(users, scores, kept, groups)


def _not_finite(what: str) -> MiracleError:
    return MiracleError(
        f"the {what} hold numbers that are not finite",
        remedy="the training diverged: lower the learning rate",
    )


def best_items(
    interests: Interests, items: Tensor, k: int, *seen: HadItems | None, ties: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The K best items of every user (eq. 17).

    Args:
        interests: the users' interests.
        items: [items, d].
        k: how many; all items where there are fewer.
        seen: what is added to scores where a user has had the item.
        ties: int64 [items], the order of items with equal scores; None takes that of a catalogue.

    Returns:
        Scores [users, K] and rows of ``items`` int64 [users, K], in the order of
        ``interests.users``.

    Raises:
        MiracleError: a score is not finite.
    """
    if ties is None:
        ties = tie_order(items.shape[0]).to(items.device)
    k = min(k, items.shape[0])
    found = [top_k(part.scores, k, ties) for part in walk(interests, items, *seen)]
    scores, best = zip(*found, strict=True)
    return torch.cat(scores), torch.cat(best)
