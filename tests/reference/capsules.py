"""Eq. 7-14: from contextualised items to a user's active interests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tests.reference.basics import layer_norm, softmax
from tests.reference.items import position_of

if TYPE_CHECKING:
    from tests.reference.parameters import Array, Parameters


def eq7_similarity(hs: list[Array], A: Array, eps: Array | None = None) -> Array:
    """s [n, C]: inner product of each item with each base vector, times (1 + eps) [n, C]."""
    s = np.zeros((len(hs), len(A)))
    for i, h in enumerate(hs):
        for j, a in enumerate(A):
            s[i, j] = h @ a
            if eps is not None:
                s[i, j] *= 1.0 + eps[i, j]
    return s


def eq8_choice(s: Array) -> list[int]:
    """The one capsule that each item activates: the most similar one, the first one in a tie."""
    choice = []
    for row in s:
        best = 0
        for j in range(len(row)):
            if row[j] > row[best]:
                best = j
        choice.append(best)
    return choice


def eq8_active(s: Array) -> list[int]:
    """I_u, ascending: every capsule that some item of the history activates."""
    return sorted(set(eq8_choice(s)))


def eq9_importance(hs: list[Array], p: Parameters) -> Array:
    """o [n]: softmax over the history's items of the position attention's scores."""
    scores = []
    for i, h in enumerate(hs):
        place = p.P_tilde[position_of(i, len(hs), len(p.P_tilde))]
        scores.append(float(np.tanh((h + place) @ p.W3 + p.b3) @ p.W4 + p.b4))
    return softmax(np.array(scores))


def eq10_features(hs: list[Array], p: Parameters) -> list[Array]:
    """The features q_i [d] of every item."""
    return [layer_norm(np.tanh(h @ p.W5 + p.b5) + h, p.norm5_scale, p.norm5_shift) for h in hs]


def eq11_capsule(j: int, c: Array, o: Array, qs: list[Array]) -> Array:
    """z_j [d]: the sum over items of c_ij o_i q_i."""
    z = np.zeros(len(qs[0]))
    for i, q in enumerate(qs):
        z = z + c[i, j] * o[i] * q
    return z


def eq12_coupling(b: Array, active: list[int]) -> Array:
    """c [n, C]: softmax of each item's agreement over the active capsules; 0 elsewhere."""
    m = np.full(b.shape[1], -math.inf)
    m[active] = 0.0
    return np.array([softmax(row + m) for row in b])


def eq13_squash(z: Array) -> Array:
    """The direction of z with length |z|² / (|z|² + 1); zero stays zero."""
    norm = math.sqrt(float(z @ z))
    if norm == 0.0:
        return np.zeros(len(z))
    return norm**2 / (norm**2 + 1.0) * z / norm


def eq14_agreement(b: Array, items: list[Array], u: dict[int, Array]) -> Array:
    """b_ij + <h_i, u_j> for the active j; an inactive capsule's b is never read again."""
    raised = b.copy()
    for i, item in enumerate(items):
        for j, interest in u.items():
            raised[i, j] += item @ interest
    return raised


@dataclass(frozen=True)
class Interests:
    """The result of eq. 7-14 for one history of n items."""

    u: dict[int, Array]  # active capsule -> its interest [d]
    choice: list[int]  # [n], the capsule each item activates
    s: Array  # [n, C]
    o: Array  # [n]
    c: Array  # [n, C], the coupling in the last round


def eq7_14_interests(
    hs: list[Array],
    p: Parameters,
    *,
    tau: int = 3,
    agreement: Literal["h", "q"] = "h",
    eps: Array | None = None,
    forced: list[int] | None = None,
) -> Interests:
    """The user's interests after `tau` rounds of routing among the active capsules.

    `forced` replaces the active set: in eq. 15, a masked history keeps the original's set.
    `agreement` names what eq. 14 compares with u: "h" as printed, or "q".
    """
    s = eq7_similarity(hs, p.A, eps)
    active = eq8_active(s) if forced is None else sorted(set(forced))
    o = eq9_importance(hs, p)
    qs = eq10_features(hs, p)
    b = s.copy()
    for _ in range(tau):
        c = eq12_coupling(b, active)
        u = {j: eq13_squash(eq11_capsule(j, c, o, qs)) for j in active}
        b = eq14_agreement(b, hs if agreement == "h" else qs, u)
    return Interests(u=u, choice=eq8_choice(s), s=s, o=o, c=c)
