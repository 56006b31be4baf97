"""A running mean of the weights: what is validated, tested and kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class RunningMean:
    """An exponential mean of the weights over the steps of a training.

    The last step's weights are one draw from around where the training is; their mean is nearer to
    the middle. It starts short: after n steps it reaches over about n / 9 of them, and at last over
    1 / (1 - decay). (torch's ``AveragedModel`` copies the whole model, and is no part of the model
    that is validated.)

    Args:
        model: whose trained weights are averaged.
        decay: what the mean keeps of itself each step, below 1; 0 is the last step's weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._weights = {
            name: weight for name, weight in model.named_parameters() if weight.requires_grad
        }
        self._decay = decay
        self._mean = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take the weights in.

        Args:
            steps: of the optimiser so far, from 1.
        """
        decay = min(self._decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(
            list(self._mean.values()), [w.detach() for w in self._weights.values()], 1.0 - decay
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the mean for its weights within the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, weight in self._weights.items():
            kept = weight.clone()
            weight.copy_(self._mean[name])
            self._mean[name].copy_(kept)

    def state(self) -> dict[str, Tensor]:
        """The mean of each weight, by name."""
        return dict(self._mean)

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put a state back.

        Raises:
            KeyError, RuntimeError: it is of other weights.
        """
        for name, mean in self._mean.items():
            mean.copy_(state[name])
