"""Linear layers with the first weights of the paper's reference settings."""

from __future__ import annotations

from torch import nn

INIT_STD = 0.02


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer: weights drawn from N(0, 0.02^2), biases zero."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=INIT_STD)
    nn.init.zeros_(layer.bias)
    return layer
