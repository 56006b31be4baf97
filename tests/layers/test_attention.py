"""Attention within packed histories, in both directions and from left to right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from miracle_core.data.packed import pack_lists, pad_lists
from miracle_core.launches import few_launches
from miracle_core.layers.attention import packed_attention
from miracle_core.layers.transformer import TransformerLayer
from tests.reference.sequences import causal_attention
from tests.systems.miracle.support import LENGTHS, SEEDS, SETTINGS, TOLERANCE, randomise

WIDTH = 4


def case(seed: int, lengths: list[int]):
    rng = np.random.default_rng(seed)
    packed = pack_lists([[0] * length for length in lengths], max(lengths))
    return packed, torch.tensor(rng.normal(size=(packed.n_tokens, 3 * WIDTH)))


@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, heads=st.sampled_from([1, 2, 4]))
def test_causal_attention_equals_the_paper(seed, lengths, heads):
    packed, qkv = case(seed, lengths)
    found = packed_attention(qkv, packed, heads, 0.0, False, causal=True)
    first = 0
    for length in packed.lengths().tolist():
        own = slice(first, first + length)
        queries, keys, values = (part.numpy() for part in qkv[own].split(WIDTH, 1))
        expected = causal_attention(queries, keys, values, heads)
        np.testing.assert_allclose(found[own], expected, **TOLERANCE)
        first += length


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_gradcheck(causal, share):
    packed, qkv = case(1, [1, 3, 2, 3])

    def attended(x):
        torch.manual_seed(3)  # drop the same weights each time
        return packed_attention(x, packed, 2, share, True, causal=causal)

    assert torch.autograd.gradcheck(attended, qkv.requires_grad_())


def padded_case(seed: int, lengths: list[int]):
    """The tokens of :func:`case` as padded histories, and where they are."""
    packed, qkv = case(seed, lengths)
    padded = pad_lists([[0] * length for length in sorted(lengths)], max(lengths))
    everything = torch.full((padded.n_tokens, 3 * WIDTH), 7.0, dtype=qkv.dtype)
    everything[padded.valid] = qkv
    return packed, qkv, padded, everything


@SETTINGS
@given(seed=SEEDS, lengths=LENGTHS, heads=st.sampled_from([1, 2, 4]), causal=st.booleans())
def test_padding_is_seen_by_nobody(seed, lengths, heads, causal):
    packed, qkv, padded, everything = padded_case(seed, lengths)
    found = packed_attention(everything, padded, heads, 0.0, False, causal=causal)
    expected = packed_attention(qkv, packed, heads, 0.0, False, causal=causal)
    np.testing.assert_allclose(found[padded.valid], expected, **TOLERANCE)
    assert found.isfinite().all()


@pytest.mark.parametrize("causal", [False, True])
def test_gradcheck_of_padded_histories(causal):
    _, _, padded, everything = padded_case(1, [1, 3, 2, 3])

    def attended(x):
        return packed_attention(x, padded, 2, 0.0, True, causal=causal)[padded.valid]

    x = everything.requires_grad_()
    assert torch.autograd.gradcheck(attended, x)
    (slopes,) = torch.autograd.grad(attended(x).sum(), x)
    assert not slopes[~padded.valid].any()


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_gradcheck_of_dropout_at_once(share):
    _, _, padded, everything = padded_case(2, [2, 3])

    def attended(x):
        torch.manual_seed(3)  # drop the same weights each time
        return packed_attention(x, padded, 2, share, True)[padded.valid]

    with few_launches():
        assert torch.autograd.gradcheck(attended, everything.requires_grad_())


@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_what_an_item_says_depends_on_older_ones_only(causal, pre_norm):
    """The gradient of an item's output is zero exactly at the later items."""
    layer = randomise(TransformerLayer(4, 2, 6, 0.5, 1e-12, causal=causal, pre_norm=pre_norm), 2)
    packed = pack_lists([[0] * 4], 4)
    x = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slopes = torch.autograd.functional.jacobian(lambda h: layer(h, packed).sum(1), x)
    reached = slopes.abs().amax(2) > 1e-9
    both = torch.ones(4, 4, dtype=torch.bool)
    assert torch.equal(reached, both.tril() if causal else both)


def test_dropout_leaves_later_items_unseen():
    packed, qkv = case(5, [4])
    torch.manual_seed(0)
    changed = qkv.clone()
    changed[-1] += 10.0
    torch.manual_seed(0)
    one = packed_attention(qkv, packed, 2, 0.5, True, causal=True)
    torch.manual_seed(0)
    other = packed_attention(changed, packed, 2, 0.5, True, causal=True)
    assert torch.equal(one[:-1], other[:-1])
    assert not torch.equal(one[-1], other[-1])
