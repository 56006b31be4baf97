"""Systems with several vectors a user; in training the target item turns them into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.linear import INIT_STD
from miracle_core.layers.radial import directions
from miracle_core.processes import Processes
from miracle_core.ranking.interests import Interests, group_slices
from miracle_core.systems.base import Batch, Encoded, ItemSide, Objective, System
from miracle_core.systems.explanation import Routing, VectorExplanation

if TYPE_CHECKING:
    from miracle_core.systems.comirec.settings import ComiRecSettings
    from miracle_core.systems.mind.settings import MindSettings


@dataclass(frozen=True)
class Made:
    """How the interests of one history came about: k interests, n items.

    Attributes:
        vectors: [k, d], as they are before scores take their directions.
        parts: [n, k, d], what each item adds to each interest; summed over n they are ``vectors``.
        strengths: [k], how strong each interest is.
        routing: the routing; its columns are the interests by number.
    """

    vectors: Tensor
    parts: Tensor
    strengths: Tensor
    routing: Routing


class SeveralInterests(System):
    """Items by an embedding each; users by several vectors; ranking by their maximum.

    Args:
        settings: the system's own.
        n_items: size of the catalogue.
        gain: whether the score of items that the history holds gains a learned number.
    """

    padded: ClassVar[bool] = True

    def __init__(
        self, settings: MindSettings | ComiRecSettings, n_items: int, *, gain: bool
    ) -> None:
        super().__init__()
        self.max_length: int = settings.max_length
        self.temperature = settings.temperature
        self.n_interests = settings.interests
        self.score: Literal["inner", "cosine"] = settings.score
        self.item = nn.Parameter(torch.randn(n_items, settings.width) * INIT_STD)
        if gain:
            self.learn_gain()

    def interests(self, tokens: Tensor, packed: Packed) -> Interests:
        """The interests of histories, before scores take their directions."""
        raise NotImplementedError(f"{type(self).__name__}.interests")

    def chosen(self, vectors: Tensor, targets: Tensor, active: Tensor | None = None) -> Tensor:
        """The one vector of a user in training, given the item that came next.

        Args:
            vectors: [n, k, d], interests as scores multiply them.
            targets: [n, d], the items, as scores multiply them.
            active: bool [n, k], the interests that each user has; None: all.

        Returns:
            [n, d].
        """
        raise NotImplementedError(f"{type(self).__name__}.chosen")

    def made(self, tokens: Tensor, packed: Packed) -> Made:
        """How the interests of one history came about."""
        raise NotImplementedError(f"{type(self).__name__}.made")

    def inputs(self, items: ItemSide) -> Tensor:
        """The items' embeddings, [items, d]."""
        return items.of_table(self.item)

    def candidates(self, inputs: Tensor) -> Tensor:
        """The embeddings, or their directions (``model.score``)."""
        return self._scored(inputs)

    def encode(self, tokens: Tensor, packed: Packed) -> Encoded:
        """The interests, or their directions."""
        interests = self.interests(tokens, packed)
        return Encoded(interests.replace_vectors(self._scored(interests.vectors)))

    def objective(self, items: ItemSide, batch: Batch, processes: Processes) -> Objective:
        """The loss of the next item; the target turns each user's interests into one vector."""
        inputs = self.inputs(items)
        candidates = self.candidates(inputs)
        tokens = F.embedding(batch.packed.items, inputs)
        interests = self.encode(tokens, batch.packed).interests
        targets = F.embedding(batch.targets[interests.users], candidates)
        found = []
        for k, rows, users in group_slices(interests.groups):
            vectors = interests.vectors[rows].unflatten(0, (-1, k))
            active = None if interests.active is None else interests.active[rows].view(-1, k)
            found.append(self.chosen(vectors, targets[users], active))
        chosen = self._scored(torch.cat(found))
        one = Interests.single(F.embedding(interests.places(), chosen))
        loss = self.next_item(one, candidates, batch, processes)
        return Objective(loss, {"recommendation": loss})

    def explain(self, tokens: Tensor, packed: Packed, candidates: Tensor) -> VectorExplanation:
        """One history's interests, strongest first, and what each item adds to them."""
        made = self.made(tokens, packed)
        order = made.strengths.argsort(descending=True, stable=True)
        vectors, parts = made.vectors[order], made.parts[:, order]
        scored = self._scored(vectors)
        if self.score == "cosine":
            length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
            parts = parts / length.clamp_min(torch.finfo(length.dtype).tiny)
        routing = made.routing
        return VectorExplanation(
            vectors=scored,
            candidates=candidates,
            which=tuple(order.tolist()),
            strengths=tuple(made.strengths[order].tolist()),
            activated=tuple(routing.routing.argmax(1).tolist()),
            parts=parts,
            routing=Routing(
                routing.similarity,
                routing.routing[:, order],
                routing.importance,
                routing.agreement[:, order],
            ),
        )

    def _scored(self, vectors: Tensor) -> Tensor:
        return vectors if self.score == "inner" else directions(vectors)
