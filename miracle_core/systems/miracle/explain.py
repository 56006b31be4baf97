"""The explanation of one history's interests in MIRACLE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.systems.explanation import Routing, VectorExplanation

if TYPE_CHECKING:
    from miracle_core.systems.miracle.miracle import Miracle


def route(model: Miracle, x: Tensor, packed: Packed, candidates: Tensor) -> VectorExplanation:
    """Interests of one history, strongest first, and how they came about (eq. 5-14).

    Args:
        model: in evaluation mode.
        x: [n, d], the item vectors of a history no longer than the model reads, oldest first.
        packed: the history.
        candidates: [items, d].
    """
    H = model.context(x, packed)
    output = model.capsules(H, packed)
    q = model.capsules.features(H)
    u = output.interests.vectors
    strengths = torch.linalg.vector_norm(u, dim=-1)
    # Strongest first; stable, so that of equals the lower capsule leads.
    order = strengths.argsort(descending=True, stable=True)
    routing = output.trace[0].routing[0][:, order]
    importance = output.trace[0].importance[0]
    user = model.user_vectors(output)[order]
    # z_j is a sum over items (eq. 11), and the interest is z_j times a number.
    parts = (routing * importance.unsqueeze(1)).unsqueeze(2) * q.unsqueeze(1)
    z = parts.sum(0)
    length = torch.linalg.vector_norm(z, dim=-1).clamp_min(torch.finfo(z.dtype).tiny)
    parts = parts * (torch.linalg.vector_norm(user, dim=-1) / length).unsqueeze(1)
    agreeing = H if model.capsules.agreement == "h" else q
    return VectorExplanation(
        vectors=user,
        candidates=candidates,
        which=tuple(output.interests.which[order].tolist()),
        strengths=tuple(strengths[order].tolist()),
        activated=tuple(output.activated.tolist()),
        parts=parts,
        routing=Routing(output.similarity, routing, importance, agreeing @ u[order].T),
    )
