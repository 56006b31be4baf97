"""Dynamic routing: what all interests share, and what is learned through it."""

from __future__ import annotations

import pytest
import torch

from miracle_core.layers.routing import route


def test_what_is_sent_alike_is_what_is_sent_to_each() -> None:
    torch.manual_seed(0)
    q, start = torch.randn(4, 1, 6, 3), torch.randn(5, 6)
    alike, each = route(q, start, 3), route(q.expand(4, 5, 6, 3), start, 3)
    for name in ("logits", "weights", "sums"):
        torch.testing.assert_close(getattr(alike, name), getattr(each, name))
    torch.testing.assert_close(alike.weights.sum(1), torch.ones(4, 6))


@pytest.mark.parametrize("sent", [1, 3])
def test_gradients_go_through_the_last_sum_with_its_weights_as_they_are(sent: int) -> None:
    torch.manual_seed(1)
    q = torch.randn(2, sent, 4, 3, dtype=torch.float64, requires_grad=True)
    start = torch.randn(3, 4, dtype=torch.float64)
    given = torch.randn(2, 3, 3, dtype=torch.float64)
    routed = route(q, start, 3)
    assert not routed.weights.requires_grad
    (routed.squashed() * given).sum().backward()
    own = q.grad
    q.grad = None
    z = torch.einsum("nkl,nkld->nkd", routed.weights, q.expand(2, 3, 4, 3))
    square = (z * z).sum(-1, keepdim=True)
    (square.sqrt() / (1 + square) * z * given).sum().backward()
    torch.testing.assert_close(own, q.grad)


def test_one_iteration_has_the_first_weights() -> None:
    start = torch.randn(3, 5)
    routed = route(torch.randn(2, 1, 5, 4), start, 1)
    torch.testing.assert_close(routed.weights, start.softmax(0).expand(2, 3, 5))


def test_padding_and_missing_interests_add_nothing() -> None:
    """They do not change the result, and they get no gradient."""
    generator = torch.Generator().manual_seed(2)
    start = torch.randn(3, 5, dtype=torch.float64, generator=generator)
    q = torch.randn(4, 1, 5, 2, dtype=torch.float64, generator=generator).requires_grad_()
    items = torch.arange(5) >= torch.tensor([[4], [2], [0], [3]])
    active = torch.arange(3) < torch.tensor([[1], [2], [3], [1]])
    routed = route(q, start, 3, items=items, active=active)
    for row in range(4):
        length, k = int(items[row].sum()), int(active[row].sum())
        alone = route(q[row : row + 1, :, 5 - length :], start[:k, 5 - length :], 3)
        torch.testing.assert_close(routed.squashed()[row, :k], alone.squashed()[0])
        assert not routed.squashed()[row, k:].any()
    (slopes,) = torch.autograd.grad(routed.squashed().sum(), q)
    assert not slopes[:, 0][~items].any()


@pytest.mark.parametrize("sent", [1, 3])
def test_gradcheck_of_padded_routing(sent: int) -> None:
    """Use one iteration: gradients do not flow through the weights of later ones."""
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    q = torch.randn(3, sent, 4, 2, dtype=torch.float64, generator=generator).requires_grad_()
    items = torch.arange(4) >= torch.tensor([[3], [1], [0]])
    active = torch.arange(3) < torch.tensor([[1], [2], [3]])

    def routed(x: torch.Tensor) -> torch.Tensor:
        return route(x, start, 1, items=items, active=active).squashed()

    assert torch.autograd.gradcheck(routed, q)
