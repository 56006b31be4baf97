"""Ranking computes only the newest item's state, which equals the one in training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from miracle_core import registry
from miracle_core.data.packed import pack, pad
from miracle_core.layers import transformer
from miracle_core.layers.context import ContextEncoder
from miracle_core.systems.sequence import SequenceSystem
from tests.reference.items import eq5_6_context
from tests.systems.miracle.support import (
    TOLERANCE,
    WIDTH,
    N,
    f64,
    paper_parameters,
    randomise,
)
from tests.systems.test_padded import LONGEST, histories, side, system_of

KINDS = [
    spec.name for spec in registry.systems() if issubclass(spec.system_class(), SequenceSystem)
]
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("sasrec", {"norm": "pre", "heads": 1}),
    ("sasrec", {"layers": 1}),
    ("gru4rec", {"layers": 1}),
    ("s3rec", {"width": 8, "heads": 4}),
    ("fdsa", {"width": 8, "layers": 1}),
]


@pytest.mark.parametrize(("kind", "own"), [*((kind, {}) for kind in KINDS), *OTHERS])
@pytest.mark.parametrize("layout", [pack, pad])
def test_it_is_the_state_of_the_whole_network(kind, own, layout):
    """Histories of every length, with padding that holds random numbers."""
    system = system_of(kind, own, torch.float64)
    assert isinstance(system, SequenceSystem)
    inputs = system.inputs(side(torch.float64))
    packed = layout(*histories(3), LONGEST)
    tokens = F.embedding(packed.items, inputs)
    whole = system.hidden(tokens, packed)[packed.last_tokens()]
    found = system.encode(tokens, packed).interests.vectors
    torch.testing.assert_close(found, whole, rtol=1e-10, atol=1e-10)
    assert whole.std(0).min() > 1e-3


@pytest.mark.parametrize("kind", ["sasrec", "s3rec", "fdsa", "gru4rec"])
def test_ranking_takes_the_short_way_and_training_does_not(kind, monkeypatch):
    system = system_of(kind, {}, torch.float64)
    packed = pack(*histories(1), LONGEST)
    tokens = F.embedding(packed.items, system.inputs(side(torch.float64)))
    hidden = system.hidden
    calls: list[bool] = []
    monkeypatch.setattr(
        system, "hidden", lambda *given: (calls.append(system.training), hidden(*given))[1]
    )
    system.encode(tokens, packed)
    system.train().encode(tokens, packed)
    assert calls == [True]


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("layout", [pack, pad])
def test_a_context_is_that_of_the_paper(layers, heads, layout):
    """Eq. 5-6 at the newest item, against the float64 reference."""
    module = randomise(ContextEncoder(WIDTH, N, layers=layers, heads=heads, inner=8), 2)
    x = torch.from_numpy(np.random.default_rng(2).normal(size=(9, WIDTH)))
    lengths = np.array([3, 1, N, 2, 4, N + 2, 1])
    ends = lengths.cumsum()
    sequences = np.random.default_rng(7).integers(0, len(x), ends[-1])
    packed = layout(sequences, ends - lengths, ends, N)
    found = torch.empty(len(lengths), WIDTH, dtype=torch.float64)
    found[packed.order] = module.newest(x[packed.items], packed).detach()
    p = paper_parameters(context=module)
    for own, start, end in zip(found, ends - lengths, ends, strict=True):
        history = [f64(x[item]) for item in sequences[max(start, end - N) : end]]
        np.testing.assert_allclose(own, eq5_6_context(history, p)[-1], **TOLERANCE)


def test_gradients_flow_as_through_the_whole_layer():
    layer = randomise(transformer.TransformerLayer(4, 2, 6, 0.0, 1e-12, causal=True), 5)
    packed = pack(np.arange(8), np.array([0, 1, 4]), np.array([1, 4, 8]), 5)
    tokens = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    asked = tokens.requires_grad_()
    weights = torch.arange(12, dtype=torch.float64).view(3, 4)
    whole = (layer(asked, packed)[packed.last_tokens()] * weights).sum()
    short = (layer.newest(asked, packed) * weights).sum()
    (one,) = torch.autograd.grad(whole, asked)
    (other,) = torch.autograd.grad(short, asked)
    torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)
