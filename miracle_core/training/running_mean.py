"""A running mean of the weights: what is validated, tested and kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class RunningMean:
    """An exponential mean of the weights over the steps of a training.

    The weights jump about from step to step; their mean has less noise. It starts short: after n
    steps it averages over about the last n / 9, and in the end over 1 / (1 - decay). (torch's
    ``AveragedModel`` is a copy of the whole model; here the mean is swapped into the model itself.)

    Args:
        model: whose trained weights are averaged.
        decay: the weight of the old mean in each step, below 1; 0 keeps the last step's weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._weights = {
            name: weight for name, weight in model.named_parameters() if weight.requires_grad
        }
        self._decay = decay
        self._mean = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Add the present weights to the mean.

        Args:
            steps: how many steps the optimiser has done, from 1.
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
        """Load what :meth:`state` gave.

        Raises:
            KeyError, RuntimeError: it is of other weights.
        """
        for name, mean in self._mean.items():
            mean.copy_(state[name])
