"""Eq. 5-6 against the float64 reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.data.packed import pack_lists
from miracle_core.layers.context import ContextEncoder
from tests.reference.items import eq5_6_context
from tests.systems.miracle.support import (
    LENGTHS,
    SEEDS,
    SETTINGS,
    TOLERANCE,
    WIDTH,
    N,
    f64,
    histories_of,
    paper_parameters,
    per_history,
    randomise,
)

ITEMS = 9


def encoder(seed: int = 0, layers: int = 2, heads: int = 2) -> ContextEncoder:
    return randomise(ContextEncoder(WIDTH, N, layers=layers, heads=heads, inner=8), seed)


def catalogue(seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(ITEMS, WIDTH)))


def encode(module: ContextEncoder, x: torch.Tensor, histories: list[list[int]]) -> list:
    packed = pack_lists(histories, N)
    return per_history(packed, module(x[packed.items], packed))


@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, layers=st.integers(0, 2), heads=st.sampled_from([1, 2, 3]))
def test_equals_the_paper(seed, lengths, layers, heads):
    module, x = encoder(seed, layers, heads), catalogue(seed)
    histories = histories_of(lengths, np.random.default_rng(seed), ITEMS)
    p = paper_parameters(context=module)
    for found, history in zip(encode(module, x, histories), histories, strict=True):
        np.testing.assert_allclose(
            found, eq5_6_context([f64(x[item]) for item in history], p), **TOLERANCE
        )


def test_only_the_newest_n_items_count():
    module, x = encoder(), catalogue()
    long, short = [0, 1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6]
    first, second = encode(module, x, [long, short])
    np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", range(1, N + 1))
def test_the_newest_item_has_the_last_position(length):
    module, x = encoder(), catalogue()
    packed = pack_lists([list(range(length))], N)
    module(x[packed.items], packed).square().sum().backward()
    used = module.position.grad.abs().sum(1) > 0
    assert used.tolist() == [False] * (N - length) + [True] * length


def test_order_and_company_of_histories_change_nothing():
    module, x = encoder(), catalogue()
    rng = np.random.default_rng(5)
    histories = histories_of([1, 2, 2, 3, 4, 5, 5, 1], rng, ITEMS)
    alone = [encode(module, x, [history])[0] for history in histories]
    turned = rng.permutation(len(histories)).tolist()
    together = encode(module, x, [histories[i] for i in turned])
    for i, found in zip(turned, together, strict=True):
        np.testing.assert_allclose(found, alone[i], rtol=1e-12, atol=1e-12)


def test_items_of_a_history_see_each_other_both_ways_and_no_one_else():
    module, x = encoder(), catalogue()
    packed = pack_lists([[0, 1, 2], [3, 4, 5], [6]], N)
    tokens = x[packed.items].requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda t: module(t, packed), tokens)
    reaches = jacobian.abs().sum((1, 3)) > 1e-12
    history = packed.history_of_token()
    assert torch.equal(reaches, history[:, None] == history[None, :])


def test_equal_items_and_zero_vectors():
    module = encoder()
    packed = pack_lists([[0], [0, 0, 0], [0] * N], N)
    for x in (torch.zeros(1, WIDTH).double(), torch.ones(1, WIDTH).double()):
        assert module(x[packed.items], packed).isfinite().all()
    with torch.no_grad():
        module.position.zero_()
    tokens = torch.zeros(packed.n_tokens, WIDTH, dtype=torch.float64, requires_grad=True)
    module(tokens, packed).sum().backward()
    assert tokens.grad.isfinite().all()


def test_gradcheck():
    module = encoder(layers=1)
    packed = pack_lists([[0, 1], [2], [3, 4, 5]], N)
    x = catalogue()[packed.items].requires_grad_()
    assert torch.autograd.gradcheck(lambda t: module(t, packed), (x,))


def test_dropout_is_for_training_and_every_parameter_learns():
    module, x = encoder(), catalogue()
    packed = pack_lists([[0, 1], [2], [3, 4, 5, 6, 7]], N)
    tokens = x[packed.items]
    assert torch.equal(module(tokens, packed), module(tokens, packed))
    module.train()
    first = module(tokens, packed)
    assert not torch.equal(first, module(tokens, packed))
    (first * torch.randn_like(first)).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
