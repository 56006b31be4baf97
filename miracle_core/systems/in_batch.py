"""The loss of the next item in pre-training: the targets of the batch are the candidates.

The items of several catalogues are too many to score them all, so the targets of the other
histories are the negatives, of whatever domain: MIRACLE's eq. 16, UniSRec's first contrast.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.processes import Processes
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.loss import max_interest_cross_entropy
from miracle_core.systems.base import Batch, ItemSide, System


def next_of_the_batch(
    system: System,
    interests: Interests,
    inputs: Tensor,
    items: ItemSide,
    batch: Batch,
    processes: Processes,
) -> Tensor:
    """The loss of each history's next item among the targets of all processes, a scalar.

    An item is a candidate once, however many histories took it. So a history's own item is never
    among its negatives, and another item counts as often as it was taken. Where
    ``batch.frequencies`` says how often items are drawn, candidates are corrected for that
    (docs/decisions/0023). This process's part of the mean over the whole batch.

    Args:
        system: makes the candidates, and has the temperature and the gain.
        interests: of the batch's histories.
        inputs: [items, w], the batch's own items.
        items: the same items; ``rows`` are their numbers, the same in all processes (None for a
            single process).
        batch: this process's share, item indices into ``items``.
        processes: those that share the batch.
    """
    packed, names = batch.packed, items.rows
    named = packed if names is None else replace(packed, items=names[packed.items])
    once: Tensor | None = None
    if packed.valid is not None:
        chosen = batch.targets if names is None else names[batch.targets]
        candidates = system.candidates(F.embedding(batch.targets, inputs))
        chosen, candidates, own, counts, once = together(chosen, candidates, processes)
    else:
        chosen, own, counts = batch.targets.unique(return_inverse=True, return_counts=True)
        candidates = system.candidates(F.embedding(chosen, inputs))
        if names is not None:
            chosen, candidates, own, counts = joined(
                names[chosen], candidates, own, counts, processes
            )
    item_bias = counts.to(candidates.dtype).log()
    if batch.frequencies is not None:
        # Each candidate is weighted by how often it was drawn over how often that was expected:
        # on average the batch's exponentials then sum to those of all items, each once.
        drawn = len(counts) if once is not None else counts.sum()
        expected = drawn * batch.frequencies[chosen]
        item_bias = item_bias - expected.to(candidates.dtype).log()
    if once is not None:
        item_bias = item_bias.masked_fill(~once, -torch.inf)
    loss = max_interest_cross_entropy(
        interests,
        candidates,
        own[interests.users],
        scale=1.0 / system.temperature,
        item_bias=item_bias,
        target_bias=candidates.new_zeros(len(own)),
        seen=system.seen(interests, named, chosen),
    )
    return loss * processes.fraction(packed.n_histories)


def together(
    names: Tensor, vectors: Tensor, processes: Processes
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The targets of all processes as candidates, one for each history, so no count is waited for.

    Args:
        names: int64 [histories], what tells one target from another.
        vectors: [histories, d], the targets.
        processes: those that share the batch.

    Returns:
        Five tensors. Of all processes' targets, by rising name: names, int64 [targets], and
        vectors, [targets, d]. The candidate that each history of this process took, int64
        [histories]. By how many histories each candidate was taken, int64 [targets], and which are
        the first of their name, bool [targets]: only these count.
    """
    everybody, _ = processes.gather(names)
    vectors, _ = processes.gather(vectors)
    everybody, order = everybody.sort(stable=True)
    first = torch.searchsorted(everybody, everybody)
    counts = torch.searchsorted(everybody, everybody, right=True) - first
    once = first == torch.arange(len(first), device=first.device)
    own = torch.searchsorted(everybody, names)
    return everybody, F.embedding(order, vectors), own, counts, once


def joined(
    names: Tensor, vectors: Tensor, own: Tensor, counts: Tensor, processes: Processes
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The candidates of all processes, each item once even if several processes have it.

    Args:
        names: int64 [candidates], what tells one item from another; each once.
        vectors: [candidates, d].
        own: int64 [histories], the candidate that each history took.
        counts: int64 [candidates], by how many histories each was taken.
        processes: those that share the batch.

    Returns:
        Names, vectors, ``own`` and counts of all candidates, by rising name; ``own`` is still about
        this process's histories.
    """
    names, first = processes.gather(names)
    vectors, _ = processes.gather(vectors)
    counts, _ = processes.gather(counts)
    different, place = names.unique(return_inverse=True)
    # An item that several processes have is the first one's: all would compute the same vector.
    row = torch.arange(len(names), device=names.device)
    chosen = row.new_full((len(different),), len(names)).scatter_reduce(0, place, row, "amin")
    total = counts.new_zeros(len(different)).index_add(0, place, counts)
    return different, F.embedding(chosen, vectors), place[first + own], total
