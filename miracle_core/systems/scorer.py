"""What ranks a catalogue for histories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed, pack_lists
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.seen import Seen
from miracle_core.ranking.walk import Scored, walk
from miracle_core.systems.base import HasCapsules

if TYPE_CHECKING:
    from miracle_core.systems.base import ItemSide, System
    from miracle_core.systems.explanation import Explanation


@dataclass(frozen=True)
class Scores:
    """The scores of a batch of histories over the whole catalogue.

    Attributes:
        interests: what they were computed from; None for a system without vectors.
        chunks: some histories after another: their places in the batch, int64 [users], and their
            scores, [users, items].
    """

    interests: Interests | None
    chunks: Iterator[tuple[Tensor, Tensor]]


class Scorer(Protocol):
    """Ranks the items of one catalogue for any history.

    Attributes:
        max_length: the newest items of a history that are read; None for all.
        n_interests: the most interests a user can have.
        capsules: whether interests mean the same for every user.
        padded: whether batches of histories are best given padded.
    """

    max_length: int | None
    n_interests: int
    capsules: bool
    padded: bool

    def scores(self, packed: Packed, leave_out: Seen | None = None) -> Scores:
        """Scores of all items, for a batch of histories.

        Args:
            packed: the histories.
            leave_out: items that are no candidates, users being places in ``packed``.
        """

    def explain(self, history: Sequence[int], new: Tensor | None = None) -> Explanation:
        """One history's scores, and what explains them.

        Args:
            history: catalogue items, oldest first, at most ``max_length``; -1 for a new item.
            new: [new items, w], the inputs of the new ones, in order.
        """


class VectorScorer:
    """Max over interests of their inner products with items (eq. 17).

    The catalogue's vectors are computed once.

    Args:
        system: the system; it is put into evaluation mode.
        items: the catalogue.
        gain: add the learned gain, if there is one.
        inputs: [items, w], the result of ``system.inputs(items)``, if it has been computed already.

    Attributes:
        inputs: [items, w], items as the tokens of a history take them.
        items: [items, d], items as scores multiply them.
    """

    def __init__(
        self,
        system: System,
        items: ItemSide,
        *,
        gain: bool = True,
        inputs: Tensor | None = None,
    ) -> None:
        self.system = system.eval()
        self.max_length = system.max_length
        self.n_interests = system.n_interests
        self.capsules = isinstance(system, HasCapsules)
        self._gain = gain
        with torch.inference_mode():
            self.inputs = system.inputs(items) if inputs is None else inputs
            self.items = system.candidates(self.inputs)
        self.padded = system.pads(self.inputs.device)

    @torch.inference_mode()
    def interests(self, packed: Packed, new: Tensor | None = None) -> Interests:
        """The interests of a batch of histories.

        Args:
            packed: the histories.
            new: [new items, w], the inputs of items that the catalogue doesn't hold. In ``packed``
                each is its row of these plus the catalogue's size.
        """
        packed = packed.to(self.inputs.device)
        inputs = self.inputs if new is None else torch.cat([self.inputs, new.to(self.inputs)])
        return self.system.encode(F.embedding(packed.items, inputs), packed).interests

    def scores(self, packed: Packed, leave_out: Seen | None = None) -> Scores:
        """Scores of all items, for a batch of histories."""
        packed = packed.to(self.inputs.device)
        interests = self.interests(packed)
        parts = self.walk(packed, interests, leave_out)
        return Scores(interests, ((interests.users[part.users], part.scores) for part in parts))

    def walk(
        self,
        packed: Packed,
        interests: Interests,
        leave_out: Seen | None = None,
        *,
        new: bool = False,
        each: bool = False,
    ) -> Iterator[Scored]:
        """Scores of the whole catalogue for interests that have been computed.

        Args:
            packed: the histories, on the scorer's device.
            interests: theirs.
            leave_out: items that are no candidates, users being places in ``packed``.
            new: whether histories may hold new items, which are no candidates.
            each: keep the score under each interest.
        """
        with torch.inference_mode():
            seen = None
            if self._gain:
                every = torch.arange(len(self.items), device=packed.items.device) if new else None
                seen = self.system.seen(interests, packed, every)
            if leave_out is not None:
                leave_out = leave_out.ordered(interests.users)
            counts = self.system.cooccurrence
            near = None if counts is None else counts.of_histories(interests, packed)
            yield from walk(interests, self.items, seen, near, leave_out, each=each)

    @torch.inference_mode()
    def explain(self, history: Sequence[int], new: Tensor | None = None) -> Explanation:
        """One history's scores, and what explains them."""
        items = torch.tensor(history, dtype=torch.int64, device=self.inputs.device)
        tokens = self.inputs[items.clamp_min(0)]
        if new is not None:
            tokens[items < 0] = new.to(tokens.dtype)
        packed = pack_lists([list(range(len(history)))], self.max_length or len(history))
        return self.system.explain(tokens, packed.to(items.device), self.items)
