"""The sequence-sequence contrast (section 2.2): each history and its copy with items dropped."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.processes import Processes
from miracle_core.ranking.draws import keys_within, uniform
from miracle_core.ranking.precision import exact
from miracle_core.systems.base import Batch


def kept_items(batch: Batch, share: float) -> Tensor:
    """Which items of each history its copy keeps; always the oldest, so that no copy is empty.

    Drawn by (seed, epoch, example, place), so that several processes choose as one would.

    Args:
        batch: the histories.
        share: the probability of each other item to be dropped.

    Returns:
        bool [tokens].
    """
    packed = batch.packed
    places = packed.places()
    keys = keys_within(batch.examples[packed.history_of_token()], places)
    return (uniform(batch.stream, keys, "item drop") >= share) | (places == 0)


def sequence_contrast(
    original: Tensor, copies: Tensor, targets: Tensor, temperature: float, processes: Processes
) -> Tensor:
    """-log exp(s_j . s~_j / tau) / sum_j' exp(s_j . s~_j' / tau), the mean over the sequences j.

    Copies s~_j' of sequences that took the same item next as j did are no negatives. This
    process's part of the mean over the sequences of all processes.

    Args:
        original: s [histories, d], directions.
        copies: s~ [histories, d], directions.
        targets: int64 [histories], what each took next, numbered alike in all processes.
        temperature: tau.
        processes: those that share the batch; a sequence is compared with the copies of all.
    """
    everyone, first = processes.gather(copies)
    taken, _ = processes.gather(targets)
    own = torch.arange(first, first + len(original), device=original.device)
    alike = targets.unsqueeze(1) == taken
    alike[torch.arange(len(own), device=own.device), own] = False
    with exact(original):
        logits = (original @ everyone.T / temperature).masked_fill(alike, -torch.inf)
        return F.cross_entropy(logits, own) * (len(own) / len(everyone))
