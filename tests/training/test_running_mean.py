"""The running mean of the weights, compared with explicit sums."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from miracle_core.training.running_mean import RunningMean


def model_of() -> nn.Linear:
    torch.manual_seed(0)
    model = nn.Linear(2, 3).double()
    model.bias.requires_grad_(False)
    return model


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_it_is_the_weighted_sum_of_all_steps(decay: float) -> None:
    model = model_of()
    first, bias = model.weight.detach().clone(), model.bias.clone()
    mean, seen = RunningMean(model, decay), []
    for step in range(1, 31):
        with torch.no_grad():
            model.weight.add_(torch.randn(3, 2).double())
        seen.append(model.weight.detach().clone())
        mean.update(step)
    # A step's weight is its own share times what every later step keeps.
    keeps = [min(decay, (1 + step) / (10 + step)) for step in range(1, 31)]
    expected, left = torch.zeros_like(first), 1.0
    for values, keep in zip(reversed(seen), reversed(keeps), strict=True):
        expected += values * (1 - keep) * left
        left *= keep
    expected += first * left
    with mean.applied():
        torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-12, atol=1e-12)
        assert torch.equal(model.bias, bias)
    assert torch.equal(model.weight.detach(), seen[-1])
    assert list(mean.state()) == ["weight"]


def test_the_weights_come_back_when_the_block_fails() -> None:
    model = model_of()
    mean = RunningMean(model, 0.9)
    with torch.no_grad():
        model.weight.add_(1.0)
    own = model.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), mean.applied():
        assert not torch.equal(model.weight, own)
        1 / 0  # noqa: B018
    assert torch.equal(model.weight, own)


def test_a_state_of_other_weights_is_refused() -> None:
    with pytest.raises(KeyError):
        RunningMean(model_of(), 0.9).load({"other": torch.zeros(3, 2)})
