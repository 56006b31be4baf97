"""Section 3.4.1: which items of a batch are masked."""

from __future__ import annotations

import torch
from torch import Tensor

from miracle_core.data.packed import Packed


def draw_mask(packed: Packed, probability: float, min_length: int) -> Tensor:
    """Choose items to mask at random.

    The newest item of a history is never masked, and histories shorter than ``min_length`` are left
    as they are, as in the authors' settings.

    Args:
        packed: the batch's histories.
        probability: of each other item to be masked.
        min_length: items that a history must have.

    Returns:
        bool [tokens].
    """
    history = packed.history_of_token()
    lengths = packed.lengths()
    newest = torch.zeros_like(packed.items, dtype=torch.bool)
    newest[lengths.cumsum(0) - 1] = True
    drawn = torch.rand(packed.n_tokens, device=packed.items.device) < probability
    return drawn & ~newest & (lengths[history] >= min_length)
