"""Dropout: rate, scale, seeding, and the same mask in forward and backward."""

from __future__ import annotations

import pytest
import torch

from miracle_core.layers.dropout import dropout


def test_off_in_evaluation_and_at_zero():
    x = torch.randn(3, 5)
    assert dropout(x, 0.3, training=False) is x
    assert dropout(x, 0.0, training=True) is x


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_share_and_scale(share):
    torch.manual_seed(0)
    x = torch.ones(300, 1001)
    out = dropout(x, share, training=True)
    gone = out == 0
    assert gone.double().mean().item() == pytest.approx(share, abs=0.004)
    assert out[~gone].unique().item() == pytest.approx(1 / (1 - share), rel=1e-3)
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(x, torch.ones(300, 1001))  # the input is unchanged


def test_elements_fall_independently():
    """Neighbours share a random word, but must not be more alike than others."""
    torch.manual_seed(1)
    gone = (dropout(torch.ones(200_000), 0.3, training=True) == 0).double()
    gone -= gone.mean()
    for distance in (1, 2, 3, 4, 5, 64):
        product = (gone[distance:] * gone[:-distance]).mean() / gone.square().mean()
        assert abs(product.item()) < 0.012


@pytest.mark.parametrize("shape", [(1,), (3,), (5, 7), (2, 3, 5), (0, 4)])
def test_gradient_passes_where_the_value_did(shape):
    torch.manual_seed(2)
    x = torch.rand(shape, dtype=torch.float64) + 1.0
    x.requires_grad_()
    out = dropout(x, 0.4, training=True)
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach() / x.detach())


def test_a_column_of_a_larger_tensor():
    torch.manual_seed(3)
    x = torch.arange(1.0, 13.0).view(3, 4).T
    out = dropout(x, 0.5, training=True)
    assert ((out == 0) | torch.isclose(out, 2 * x)).all()


def test_the_generator_decides():
    x = torch.ones(1000)
    torch.manual_seed(4)
    first = dropout(x, 0.3, training=True)
    second = dropout(x, 0.3, training=True)
    torch.manual_seed(4)
    assert torch.equal(dropout(x, 0.3, training=True), first)
    assert not torch.equal(first, second)
