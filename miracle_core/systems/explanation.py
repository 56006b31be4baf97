"""One history's scores, and what explains them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

import torch
from torch import Tensor

from miracle_core.data.packed import Packed, pack_lists
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.pieces import max_over_interests
from miracle_core.ranking.walk import walk

if TYPE_CHECKING:
    from miracle_core.systems.base import System


@dataclass(frozen=True)
class Routing:
    """How the interests of a history came about: n items, C capsules, k of them active.

    Attributes:
        similarity: s_ij [n, C] (eq. 7).
        routing: c_ij of the last iteration [n, k] (eq. 12).
        importance: o_i [n] (eq. 9).
        agreement: [n, k], the product of each item with each finished interest (eq. 14).
    """

    similarity: Tensor
    routing: Tensor
    importance: Tensor
    agreement: Tensor


class Explanation(Protocol):
    """One history's scores, and what explains them; k interests, n items that are read."""

    @property
    def which(self) -> tuple[int, ...]:
        """The number of each interest, the strongest first [k]."""

    @property
    def strengths(self) -> tuple[float, ...]:
        """How strong each is [k]."""

    @property
    def activated(self) -> tuple[int, ...] | None:
        """The interest that each item activates [n]; None where items activate none."""

    @property
    def vectors(self) -> Tensor | None:
        """Interests as candidates multiply them [k, d]; None in a system without vectors."""

    @property
    def additive(self) -> bool:
        """Whether contributions sum to the score; if not, each is a loss by leaving one out."""

    @property
    def routing(self) -> Routing | None:
        """How the interests came about, where routing made them."""

    def each(self, rows: Tensor | None = None) -> Tensor:
        """The score of items under each interest, [k, items].

        Args:
            rows: int64 [items], which items; None for the whole catalogue.
        """

    def contributions(self, rows: Tensor, winners: Tensor) -> Tensor | None:
        """What each item of the history adds to some items' scores, [n, items].

        If scores are no such sums (see :attr:`additive`): by how much the score falls without the
        item.

        Args:
            rows: int64 [items], catalogue items.
            winners: int64 [items], the row in :meth:`each` of the interest that gave each its
                score.

        Returns:
            None where the system can't tell.
        """


@dataclass(frozen=True)
class VectorExplanation:
    """The explanation of a system whose scores are inner products; see :class:`Explanation`.

    Attributes:
        candidates: [items, d], the catalogue.
        parts: [n, k, d], what each item adds to each interest; summed over n they are ``vectors``.
            None where an interest is not such a sum.
        without: the interests of n shortened histories, the i-th without item i, for a system whose
            interests are no sums; None otherwise.
    """

    vectors: Tensor
    candidates: Tensor
    which: tuple[int, ...]
    strengths: tuple[float, ...]
    activated: tuple[int, ...] | None = None
    parts: Tensor | None = None
    without: Interests | None = None
    routing: Routing | None = None

    @classmethod
    def of(cls, interests: Interests, candidates: Tensor) -> Self:
        """From one history's interests alone, without how they came about."""
        vectors = interests.vectors
        return cls(
            vectors,
            candidates,
            tuple(interests.which.tolist()),
            tuple(torch.linalg.vector_norm(vectors, dim=-1).tolist()),
        )

    @property
    def additive(self) -> bool:
        """Whether contributions sum to the score; losses by leaving items out don't."""
        return self.without is None

    def each(self, rows: Tensor | None = None) -> Tensor:
        """The score of items under each interest, [k, items]."""
        items = self.candidates if rows is None else self.candidates[rows]
        k = len(self.vectors)
        user = torch.zeros(1, dtype=torch.int64, device=self.vectors.device)
        alone = Interests(self.vectors, user.expand(k), user, ((k, 1),))
        (found,) = walk(alone, items, each=True)
        assert found.each is not None
        return found.each

    def contributions(self, rows: Tensor, winners: Tensor) -> Tensor | None:
        """What each item of the history adds to some items' scores, [n, items]."""
        if self.without is not None:
            return self._lost(rows, winners, self.without)
        if self.parts is None:
            return None
        found: Tensor = (self.parts[:, winners] * self.candidates[rows]).sum(-1)
        return found

    def _lost(self, rows: Tensor, winners: Tensor, without: Interests) -> Tensor:
        """By how much the scores fall where an item is left out, [n, items].

        Args:
            rows: int64 [items].
            winners: int64 [items], the interests that give the present scores.
            without: of the n shortened histories; without users if the history has one item. Then
                nothing is left without it, and its contribution is the whole score.
        """
        items = self.candidates[rows]
        scores = (self.vectors[winners] * items).sum(-1)
        if not without.n_users:
            return scores.unsqueeze(0)
        left = torch.empty(without.n_users, len(rows), dtype=scores.dtype, device=scores.device)
        left[without.users] = max_over_interests(without.vectors @ items.T, without.groups)
        return scores - left


def explained_by_leaving_out(
    system: System, tokens: Tensor, packed: Packed, candidates: Tensor
) -> VectorExplanation:
    """One history's score, and what it loses without each of the history's items.

    For a system whose interests are no sums over items. Some of a score comes from several items
    together, such as from their order, so the differences don't sum to the score.

    Args:
        system: in evaluation mode.
        tokens: [n, w], the inputs of the history's items, oldest first.
        packed: the history.
        candidates: [items, d].
    """
    found = VectorExplanation.of(system.encode(tokens, packed).interests, candidates)
    return replace(found, without=leave_out_each(system, tokens, packed))


def leave_out_each(system: System, tokens: Tensor, packed: Packed) -> Interests:
    """The interests of one history without each of its items in turn.

    The remaining items close the gap: a system with position embeddings sees a history that is one
    item shorter.

    Args:
        system: in evaluation mode.
        tokens: [n, w], the inputs of the history's items, oldest first.
        packed: the history.

    Returns:
        The interests of n users, in the order of the items; of no user for a history of one item.
    """
    n = packed.n_tokens
    if n == 1:
        none = system.encode(tokens, packed).interests.vectors[:0]
        return Interests.single(none)
    length = system.max_length or n
    shorter = pack_lists([[i for i in range(n) if i != gone] for gone in range(n)], length)
    shorter = shorter.to(tokens.device)
    read = replace(shorter, items=packed.items[shorter.items])
    return system.encode(tokens[shorter.items], read).interests
