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
    """First weights of maps from item vectors to interests: [*many, width, width].

    The identity plus N(0, 0.02^2). So at first a sum of items lies near these items, as it does in
    systems without such a map. From a random start this has to be learned item by item, and with
    thousands of items a training overfits before it is
    (docs/decisions/0070-interests-near-their-items.md).

    Args:
        width: d.
        many: the shape of a batch of such maps; none makes one.
    """
    return torch.eye(width) + torch.randn(*many, width, width) * INIT_STD
