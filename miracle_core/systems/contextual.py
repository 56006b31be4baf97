"""Systems that read items by their text, in the context of the history: MIRACLE up to eq. 6."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.adaptor import MoEAdaptor, scaled
from miracle_core.layers.context import ContextEncoder
from miracle_core.layers.linear import INIT_STD
from miracle_core.layers.radial import directions, rows_and_directions
from miracle_core.processes import ALONE, Processes
from miracle_core.systems.base import Batch, Encoded, ItemSide, Objective, System
from miracle_core.systems.miracle.settings import NetworkSettings


class ContextualSystem(System):
    """Text to item vectors to contextual items (eq. 2-6), and the loss of the next item (eq. 23).

    Each system makes interests of the contextual items in its own way.

    Args:
        settings: the network's settings.
        text_width: d_b, the text vectors' width.
    """

    def __init__(self, settings: NetworkSettings, text_width: int) -> None:
        super().__init__()
        s = settings
        self.settings = settings
        self.max_length = s.max_length
        self.temperature = s.temperature
        self.adaptor = MoEAdaptor(text_width, s.width, s.experts, s.adaptor_dropout, s.gate_noise)
        self.context = ContextEncoder(s.width, s.max_length, s.layers, s.heads, s.inner, s.dropout)
        self.identity: nn.Parameter | None = None

    def learn_identity(self, n_items: int | None) -> None:
        """Add an embedding e_v of each item (transductive); a system's constructor calls this.

        Args:
            n_items: size of the catalogue; None for no embedding (inductive, pre-training).
        """
        if n_items is not None:
            self.identity = nn.Parameter(torch.randn(n_items, self.settings.width) * INIT_STD)

    def prepared(self, text: Tensor) -> Tensor:
        """Text vectors with a root mean square of 1, or as they are (``model.text_scale``)."""
        return scaled(text, self.settings.text_scale)

    def item_vectors(self, text: Tensor, identity: Tensor | None = None) -> Tensor:
        """x_v of items (eq. 2), plus e_v where given: [items, d_b] to [items, d].

        Args:
            text: [items, d_b], scaled.
            identity: [items, d], the items' rows of ``self.identity``.
        """
        x: Tensor = self.adaptor(text, identity)
        return x

    def inputs(self, items: ItemSide) -> Tensor:
        """x_v of items (eq. 2), plus e_v where items have one: [items, d]."""
        identity: Tensor | None = None if items.new else self.identity
        if identity is not None:
            identity = items.of_table(identity)
        return self.item_vectors(items.required_text(), identity)

    def candidates(self, inputs: Tensor) -> Tensor:
        """Item vectors as eq. 17 multiplies them: as they are, or their directions (cosine)."""
        return self.scored(inputs)

    def scored(self, vectors: Tensor) -> Tensor:
        """Interests or items as eq. 17 multiplies them (``model.score``)."""
        return vectors if self.settings.score == "inner" else directions(vectors)

    def objective(self, items: ItemSide, batch: Batch, processes: Processes = ALONE) -> Objective:
        """The fine-tuning loss of a batch (eq. 23-24).

        The catalogue's vectors are computed once, for the histories' input and as candidates.
        """
        packed = batch.packed
        if self.settings.score == "inner":
            candidates = self.inputs(items)
            tokens = F.embedding(packed.items, candidates)
        else:
            tokens, candidates = rows_and_directions(self.inputs(items), packed.items)
        encoded = self.encode(tokens, packed)
        recommendation = self.next_item(encoded.interests, candidates, batch, processes)
        return self.weighted(encoded, packed, recommendation, processes)

    def weighted(
        self, encoded: Encoded, packed: Packed, recommendation: Tensor, processes: Processes
    ) -> Objective:
        """The loss of the next item, and what else is learned of a batch (eq. 24)."""
        return Objective(recommendation, {"recommendation": recommendation})
