"""Systems that read a sequence from left to right and predict the next item at every place."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.processes import Processes
from miracle_core.ranking.draws import keys_within
from miracle_core.ranking.interests import Interests
from miracle_core.systems.base import Batch, Encoded, ItemSide, Objective, Rows, System

if TYPE_CHECKING:
    from miracle_core.systems.explanation import VectorExplanation


class SequenceSystem(System):
    """One vector a user: the state at the newest item. In training every item has a state."""

    examples: ClassVar[Literal["prefixes", "sequences"]] = "sequences"

    def hidden(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The state after each item, from it and those before it: [tokens, w] to [tokens, d]."""
        raise NotImplementedError(f"{type(self).__name__}.hidden")

    def newest(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The state after each history's newest item: [tokens, w] to [histories, d].

        A system that can compute this state without all the others overrides this. It is used for
        ranking, so there is no dropout.
        """
        return self.hidden(tokens, packed)[packed.last_tokens()]

    def encode(self, tokens: Tensor, packed: Packed) -> Encoded:
        """The state at each history's newest item."""
        if self.training:
            return Encoded(Interests.single(self.hidden(tokens, packed)[packed.last_tokens()]))
        return Encoded(Interests.single(self.newest(tokens, packed)))

    def objective(self, items: ItemSide, batch: Batch, processes: Processes) -> Objective:
        """Each item's state predicts the item that came next; the loss is the mean over items."""
        packed = batch.packed
        inputs = self.inputs(items)
        states = self.hidden(F.embedding(packed.items, inputs), packed)
        seen = self.seen_by_every_token(packed, batch.among)
        keys = keys_within(batch.examples[packed.history_of_token()], packed.places())
        rows = Rows(Interests.single(states), batch.following(), seen, keys, packed.valid)
        loss = self.recommendation(rows, self.candidates(inputs), batch, processes)
        return Objective(loss, {"recommendation": loss})

    def explain(self, tokens: Tensor, packed: Packed, candidates: Tensor) -> VectorExplanation:
        """One history's score, and what it loses without each item: a state is no sum of items."""
        from miracle_core.systems.explanation import explained_by_leaving_out

        return explained_by_leaving_out(self, tokens, packed, candidates)
