"""Which items of a sequence are masked (Sun et al. 2019, section 3.6)."""

from __future__ import annotations

import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.ranking.draws import keys_within, uniform


def draw_masks(
    packed: Packed, examples: Tensor, stream: tuple[int, int], share: float, last_only: float
) -> Tensor:
    """The items to tell: a share of every sequence, at least one, or its last one alone.

    A function of the example, the seed and the epoch: whatever else is in the batch, and whichever
    process has it, a sequence has the same masks.

    Args:
        packed: whole sequences, the item that came last among them.
        examples: int64 [histories], the examples' numbers, in packed order.
        stream: the run's seed and the epoch.
        share: rho, of n items max(1, round(rho n)) are masked.
        last_only: of the sequences, those that have their last item masked and no other.

    Returns:
        bool [tokens]; of padding it means nothing.
    """
    history = packed.history_of_token()
    drawn = uniform(stream, keys_within(examples[history], packed.places()), "cloze")
    # History by history, the smallest numbers first: the place in this order is a rank. Padding
    # comes before its history's items, as it does among the tokens.
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
