"""All equations in order: from a history's text vectors to the user's interests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tests.reference.capsules import Interests, eq7_14_interests
from tests.reference.items import eq2_adaptor, eq5_6_context

if TYPE_CHECKING:
    from tests.reference.parameters import Array, Parameters


def item_vectors(texts: Array, p: Parameters, ids: Array | None = None) -> list[Array]:
    """x_v of every item (eq. 2), plus e_v if ID embeddings are given (transductive)."""
    xs = [eq2_adaptor(t, p) for t in texts]
    return xs if ids is None else [x + e for x, e in zip(xs, ids, strict=True)]


def interests(
    history: list[int],
    catalogue: list[Array],
    p: Parameters,
    *,
    tau: int = 3,
    agreement: Literal["h", "q"] = "h",
    eps: Array | None = None,
) -> Interests:
    """Eq. 5-14 for one history of catalogue items, oldest first."""
    hs = eq5_6_context([catalogue[item] for item in history], p)
    return eq7_14_interests(hs, p, tau=tau, agreement=agreement, eps=eps)


def masked_interests(
    history: list[int],
    masked: list[int],
    catalogue: list[Array],
    mask_vector: Array,
    p: Parameters,
    *,
    tau: int = 3,
    agreement: Literal["h", "q"] = "h",
    eps: Array | None = None,
    forced: list[int],
) -> Interests:
    """Eq. 5-14 with the items at the positions `masked` replaced by the [MASK] vector [d].

    `forced` is the active set of the original history (section 3.4.1).
    """
    xs = [mask_vector if i in masked else catalogue[item] for i, item in enumerate(history)]
    hs = eq5_6_context(xs, p)
    return eq7_14_interests(hs, p, tau=tau, agreement=agreement, eps=eps, forced=forced)
