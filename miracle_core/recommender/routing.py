"""One history through the model, with all that explains the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from miracle_core.data.packed import pack_lists
from miracle_core.model.miracle import Miracle
from miracle_core.recommender.results import Trace


@dataclass(frozen=True)
class Routed:
    """The interests of one history, strongest first, and how they came about.

    Attributes:
        trace: similarity, routing, importance and agreement.
        activated: the capsule each item read activates [n].
        capsules: the active capsules [k].
        strengths: ||u_j|| [k].
        user: [k, d], interests as eq. 17 multiplies them.
        parts: [n, k, d], what each item adds to each of ``user``: they sum to it over n, since
            z_j is a sum over items (eq. 11) and ``user`` is z_j times a number.
    """

    trace: Trace
    activated: tuple[int, ...]
    capsules: tuple[int, ...]
    strengths: tuple[float, ...]
    user: Tensor
    parts: Tensor


def route(model: Miracle, x: Tensor, first: int) -> Routed:
    """Interests of one history (eq. 5-14).

    Args:
        model: in evaluation mode.
        x: [n, d], the item vectors of a history no longer than the model reads, oldest first.
        first: how many older items were left out.
    """
    packed = pack_lists([list(range(len(x)))], model.settings.max_length).to(x.device)
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
    parts = (routing * importance.unsqueeze(1)).unsqueeze(2) * q.unsqueeze(1)
    z = parts.sum(0)
    length = torch.linalg.vector_norm(z, dim=-1).clamp_min(torch.finfo(z.dtype).tiny)
    parts = parts * (torch.linalg.vector_norm(user, dim=-1) / length).unsqueeze(1)
    agreeing = H if model.capsules.agreement == "h" else q
    trace = Trace(
        first=first,
        similarity=_array(output.similarity),
        routing=_array(routing),
        importance=_array(importance),
        agreement=_array(agreeing @ u[order].T),
    )
    return Routed(
        trace=trace,
        activated=tuple(output.activated.tolist()),
        capsules=tuple(output.interests.capsules[order].tolist()),
        strengths=tuple(strengths[order].tolist()),
        user=user,
        parts=parts,
    )


def _array(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
    array: np.ndarray[tuple[int, ...], np.dtype[np.floating]] = tensor.cpu().numpy()
    return array
