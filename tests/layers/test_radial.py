"""Normalised and plain rows: values and gradients equal torch's own at any length."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from miracle_core.layers import radial
from miracle_core.layers.radial import directions, rows_and_directions, squash


@pytest.fixture(params=[2, 512], autouse=True)
def rows_at_a_time(request, monkeypatch):
    monkeypatch.setattr(radial, "ROWS", request.param)


def vectors(rows: int = 5, width: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, width, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e5])
def test_directions_are_those_of_torch(scale):
    x = (vectors().detach() * scale).requires_grad_()
    weights = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(directions(x), F.normalize(x, dim=-1))
    (found,) = torch.autograd.grad((directions(x) * weights).sum(), x)
    (expected,) = torch.autograd.grad((F.normalize(x, dim=-1) * weights).sum(), x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12 / scale)


@pytest.mark.parametrize("function", [directions, squash])
def test_gradcheck(function):
    assert torch.autograd.gradcheck(function, (vectors(),))


@pytest.mark.parametrize("function", [directions, squash])
def test_a_row_of_zeros_stays_one_and_its_gradient_is_finite(function):
    x = torch.zeros(3, 4, requires_grad=True)
    y = function(x)
    y.sum().backward()
    assert not y.any()
    assert x.grad.isfinite().all()


def test_rows_and_directions_add_their_gradients():
    """A row that is used both ways gets the sum of both gradients."""
    rows = torch.tensor([3, 0, 3])
    taken, turned = rows_and_directions(vectors(), rows)
    torch.testing.assert_close(taken, vectors()[rows])
    torch.testing.assert_close(turned, F.normalize(vectors(), dim=-1))
    assert torch.autograd.gradcheck(lambda x: rows_and_directions(x, rows), (vectors(),))


def test_no_rows_are_no_trouble():
    assert directions(torch.zeros(0, 4)).shape == (0, 4)
