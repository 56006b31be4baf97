"""Linear layers with the first weights of the paper's reference settings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

INIT_STD = 0.02


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer: weights drawn from N(0, 0.02^2), biases zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=INIT_STD)
    nn.init.zeros_(layer.bias)
    return layer


def near_identity(width: int, *many: int) -> Tensor:
    """First weights of maps from items to what is compared with items: [*many, width, width].

    The identity plus N(0, 0.02^2): at first a sum of items lies near these items, as it does in
    systems without such a map. From a random start that has to be found item by item, and in
    catalogues of thousands of items histories are learned by heart before it is
    (docs/decisions/0070-interests-near-their-items.md).
    """
    return torch.eye(width) + torch.randn(*many, width, width) * INIT_STD
