"""Which items of a sequence are masked (Sun et al. 2019, section 3.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.ranking.draws import keys_within, uniform


def draw_masks(
    packed: Packed, examples: Tensor, stream: tuple[int, int], share: float, last_only: float
) -> Tensor:
    """The items to predict: a share of each sequence, at least one item, or its last item alone.

    A function of the example, the seed and the epoch. So a sequence has the same masks whatever
    else is in the batch, and whichever process has it.

    Args:
        packed: whole sequences, each with its last item.
        examples: int64 [histories], the examples' numbers, in packed order.
        stream: the run's seed and the epoch.
        share: rho; max(1, round(rho n)) of a sequence's n items are masked.
        last_only: the probability that a sequence has only its last item masked.

    Returns:
        bool [tokens]; the values at padding mean nothing.
    """
    history = packed.history_of_token()
    drawn = uniform(stream, keys_within(examples[history], packed.places()), "cloze")
    # Sort within each history, the smallest numbers first: the place in this order is a rank.
    # Padding sorts before its history's items, just as it precedes them among the tokens.
    drawn = packed.filled(drawn, -1.0)
    order = drawn.argsort()
    order = order[history[order].argsort(stable=True)]
    wanted = (packed.lengths() * share).round().clamp_min(1)
    masked = torch.empty_like(history, dtype=torch.bool)
    masked[order] = packed.places() < wanted[history]
    last = torch.zeros_like(masked)
    last[packed.last_tokens()] = True
    alone = uniform(stream, examples, "last item only") < last_only
    return torch.where(alone[history], last, masked)
