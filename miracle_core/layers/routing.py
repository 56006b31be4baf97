"""Behaviour-to-interest dynamic routing: what MIND and ComiRec-DR share (Sabour et al. 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from miracle_core.layers.radial import squash


@dataclass(frozen=True)
class Routed:
    """Histories of one length, routed: n histories of l items, k interests.

    Attributes:
        q: [n, 1 or k, l, d], what each item sends to each interest.
        logits: b of the last iteration, [n, k, l].
        weights: c of the last iteration, [n, k, l]; they sum to 1 over the interests, and are 0 at
            padding.
        sums: z = sum over items of c q, [n, k, d], before they are squashed.
    """

    q: Tensor
    logits: Tensor
    weights: Tensor
    sums: Tensor

    def squashed(self) -> Tensor:
        """The interest capsules, [n, k, d]."""
        return squash(self.sums.flatten(0, 1)).view_as(self.sums)


def route(
    q: Tensor,
    start: Tensor,
    iterations: int,
    *,
    items: Tensor | None = None,
    active: Tensor | None = None,
) -> Routed:
    """Route the items of histories of one length to interests.

        c = softmax over interests of b,  z_j = sum_i c_ij q_ij,  u_j = squash(z_j),
        b_ij += <u_j, q_ij>

    The gradient goes through the last sum alone, and its weights count as constants. The authors of
    ComiRec stop the gradient of the earlier iterations in the same way.

    Args:
        q: [n, k, l, d], what each item sends to each interest; [n, 1, l, d] where it sends the same
            to all.
        start: [k, l], the first b.
        iterations: routing iterations, at least 1.
        items: bool [n, l], which places hold items; None: all.
        active: bool [n, k], the interests that each history has, at least one; None: all. The sums
            of the others are 0.
    """
    with torch.no_grad():
        sent = q.detach()
        logits = start.to(q.dtype).expand(q.shape[0], -1, -1)
        if active is not None:
            logits = logits.masked_fill(~active.unsqueeze(2), -torch.inf)
        for iteration in range(iterations):
            weights = logits.softmax(1)
            if items is not None:
                weights = weights * items.unsqueeze(1)
            if iteration + 1 < iterations:
                sums = _sums(weights, sent)
                u = squash(sums.flatten(0, 1)).view_as(sums)
                logits = logits + _agreement(u, sent)
    return Routed(q, logits, weights, _sums(weights, q))


def _sums(weights: Tensor, q: Tensor) -> Tensor:
    """[n, k, l] and [n, k or 1, l, d] to [n, k, d]."""
    if q.shape[1] == 1:
        return weights @ q.squeeze(1)
    return (weights.unsqueeze(2) @ q).squeeze(2)


def _agreement(u: Tensor, q: Tensor) -> Tensor:
    """[n, k, d] and [n, k or 1, l, d] to [n, k, l]."""
    if q.shape[1] == 1:
        return u @ q.squeeze(1).transpose(1, 2)
    return (q @ u.unsqueeze(3)).squeeze(3)
