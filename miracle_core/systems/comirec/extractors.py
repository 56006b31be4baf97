"""The two ways in which ComiRec makes interests of items (section 3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.linear import INIT_STD, near_identity
from miracle_core.layers.routing import Routed, route
from miracle_core.systems.explanation import Routing
from miracle_core.systems.several import Made

# The attention's hidden width d_a, as a multiple of d; the authors' code has 4.
HIDDEN = 4


class DynamicRouting(nn.Module):
    """ComiRec-DR: the item at place i sends interest j the vector W_ij e_i (eq. 1-5).

    Args:
        width: d.
        interests: K.
        max_length: N.
        iterations: r.
    """

    def __init__(self, width: int, interests: int, max_length: int, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations
        self.maps = nn.Parameter(near_identity(width, max_length, interests))

    def routed(self, tokens: Tensor, packed: Packed) -> list[Routed]:
        """The routing of each group of ``packed.groups``; the first logits are 0."""
        _, k, d, _ = self.maps.shape
        maps = self.maps.flatten(1, 2)
        found = []
        parts = tokens.split(packed.token_counts)
        for x, (length, n) in zip(parts, packed.groups, strict=True):
            # A product a place: [l, n, d] and [l, d, K d].
            sent = x.view(n, length, d).transpose(0, 1) @ maps[-length:].transpose(1, 2)
            q = sent.view(length, n, k, d).permute(1, 2, 0, 3)
            items = None if packed.valid is None else packed.valid.view(n, length)
            found.append(route(q, x.new_zeros(k, length), self.iterations, items=items))
        return found

    def forward(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The interests of all histories, [histories * K, d]."""
        return torch.cat([each.squashed().flatten(0, 1) for each in self.routed(tokens, packed)])

    def made(self, tokens: Tensor, packed: Packed) -> Made:
        """An interest is a sum over items, times a number (squash)."""
        (routed,) = self.routed(tokens, packed)
        q, weights, sums = routed.q[0], routed.weights[0], routed.sums[0]
        capsules = routed.squashed()[0]
        strengths = torch.linalg.vector_norm(capsules, dim=-1)
        length = torch.linalg.vector_norm(sums, dim=-1).clamp_min(torch.finfo(q.dtype).tiny)
        parts = (weights * (strengths / length).unsqueeze(1)).unsqueeze(2) * q
        n = weights.shape[1]
        routing = Routing(
            similarity=routed.logits[0].T,
            routing=weights.T,
            importance=q.new_full((n,), 1 / n),
            agreement=(q @ capsules.unsqueeze(2)).squeeze(2).T,
        )
        return Made(capsules, parts.transpose(0, 1), strengths, routing)


class SelfAttention(nn.Module):
    """ComiRec-SA: each of K interests is a weighted mean of the items (eq. 6-8).

        A = softmax over items of (W2^T tanh(W1 (H + P))),   V_u = H A

    Args:
        width: d.
        interests: K.
        max_length: N.
    """

    def __init__(self, width: int, interests: int, max_length: int) -> None:
        super().__init__()
        inner = HIDDEN * width
        self.position = nn.Parameter(torch.randn(max_length, width) * INIT_STD)
        self.hidden = nn.Parameter(torch.randn(inner, width) / math.sqrt(width))
        self.heads = nn.Parameter(torch.randn(interests, inner) / math.sqrt(inner))

    def logits(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The logits of the softmax over a history's items, [tokens, K]."""
        placed = tokens + F.embedding(packed.positions, self.position)
        return torch.tanh(placed @ self.hidden.T) @ self.heads.T

    def forward(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The interests of all histories, [histories * K, d]."""
        counts = packed.token_counts
        parts = zip(
            tokens.split(counts),
            packed.filled(self.logits(tokens, packed), -torch.inf).split(counts),
            packed.groups,
            strict=True,
        )
        found = []
        for x, logits, (length, n) in parts:
            weights = logits.view(n, length, -1).softmax(1).transpose(1, 2)
            found.append((weights @ x.view(n, length, -1)).flatten(0, 1))
        return torch.cat(found)

    def made(self, tokens: Tensor, packed: Packed) -> Made:
        """An interest is a sum over items.

        An item's importance is its mean attention over the heads; its routing is each head's share
        of that attention.
        """
        logits = self.logits(tokens, packed)
        weights = logits.softmax(0)
        vectors = weights.T @ tokens
        importance = weights.mean(1)
        shares = weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        return Made(
            vectors,
            weights.unsqueeze(2) * tokens.unsqueeze(1),
            torch.linalg.vector_norm(vectors, dim=-1),
            Routing(logits, shares, importance, tokens @ vectors.T),
        )
