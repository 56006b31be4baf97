"""Section 3.4.1: which items of a batch are masked."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from miracle_core.data.packed import Packed


def most_masked(packed: Packed, probability: float) -> int:
    """The most items of a padded batch that are masked, known without waiting for the device.

    Eight standard deviations above the expected number, for a batch whose histories all have N
    items. About one batch in 10^15 would draw more; its last ones are then not masked.
    """
    ((length, count),) = packed.groups
    others = count * (length - 1)
    mean = others * probability
    return max(min(others, math.ceil(mean + 8 * math.sqrt(mean * (1 - probability)))), 1)


def draw_mask(packed: Packed, probability: float, min_length: int) -> Tensor:
    """Choose items to mask at random.

    The newest item of a history is never masked, and histories shorter than ``min_length`` are left
    as they are, as in the authors' settings. In a padded batch at most :func:`most_masked` are.

    Args:
        packed: the batch's histories.
        probability: of each other item to be masked.
        min_length: the fewest items of a history with masks.

    Returns:
        bool [tokens].
    """
    history = packed.history_of_token()
    lengths = packed.lengths()
    newest = torch.zeros_like(packed.items, dtype=torch.bool)
    newest[packed.last_tokens()] = True
    drawn = torch.rand(packed.n_tokens, device=packed.items.device) < probability
    drawn = drawn & ~newest & (lengths[history] >= min_length)
    if packed.valid is None:
        return drawn
    drawn = drawn & packed.valid
    return drawn & (drawn.cumsum(0) <= most_masked(packed, probability))
