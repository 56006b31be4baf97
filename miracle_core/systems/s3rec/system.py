"""S3-Rec: four self-supervised objectives, then the next item (Zhou et al. 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.context import ContextEncoder
from miracle_core.layers.linear import INIT_STD
from miracle_core.processes import Processes
from miracle_core.ranking.draws import keys_within, others
from miracle_core.systems.attributes import ItemAttributes
from miracle_core.systems.base import Batch, ItemSide, Objective, Sizes
from miracle_core.systems.s3rec.corruption import draw_mask, draw_segments
from miracle_core.systems.s3rec.objectives import Objectives
from miracle_core.systems.s3rec.settings import S3RecSettings
from miracle_core.systems.sequence import SequenceSystem

if TYPE_CHECKING:
    from miracle_core.config import Settings

EPS = 1e-12


class S3Rec(SequenceSystem):
    """Zhou et al., *S3-Rec: Self-Supervised Learning for Sequential Recommendation*, CIKM 2020.

    Two stages on one catalogue, whose items have an embedding each. In pre-training self-attention
    looks both ways, and four objectives (:class:`Objectives`) predict items, attributes and
    segments from what is around them. Fine-tuning starts from the item embeddings, position
    embeddings and blocks of that stage. It looks from left to right and predicts the next item, as
    SASRec does.

    Published: d 64, 2 blocks, 2 heads, n 50, dropout 0.5, Adam at 0.001, a mask probability of 0.2,
    weights 0.2 (AAP), 1 (MIP), 1 (MAP) and 0.5 (SP), one negative for each item that came next (the
    authors' code): the preset ``paper``. What differs here:

    - AAP compares attributes with an item's embedding, as printed; the authors' code takes the
      encoder's states at the items that aren't masked.
    - AAP and MAP are a binary cross-entropy over all attribute values, as in the authors' code; the
      paper prints a contrast with drawn ones. W has a bias, as in the code.
    - Each beginning of two items or more of a training sequence is an example, and its last item is
      always masked, as in the code. Each objective is a sum within an example and a mean over
      examples; the code sums over the batch. MIP's negative is any item but the masked one; in the
      code any that the sequence lacks.
    - SP's corrupted segment is cut from the batch's sequences, laid end to end; the code lays all
      users' end to end, their held-out items among them.
    - The best epoch is the one with the lowest loss on the validation part; the authors fine-tune
      after several numbers of epochs and compare.
    - The default loss of fine-tuning is the softmax over the catalogue; AdamW with a running mean
      of weights, the history's gain, and windows, as every sequence system here.
    """

    frozen: ClassVar[tuple[str, ...]] = ("context.position", "context.layers")
    padded: ClassVar[bool] = True

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__()
        s = settings.model
        if not isinstance(s, S3RecSettings) or sizes.items is None:
            raise ValueError("S3-Rec needs its own settings and a catalogue")
        pretraining = bool(settings.datasets)
        # In pre-training a history is read together with its target, which takes one more place.
        self.max_length = s.max_length - 1 if pretraining else s.max_length
        self.mask_probability = s.mask_probability
        self.item = nn.Parameter(torch.randn(sizes.items, s.width) * INIT_STD)
        self.context = ContextEncoder(
            s.width,
            s.max_length,
            s.layers,
            s.heads,
            s.inner,
            s.dropout,
            EPS,
            causal=not pretraining,
        )
        self.objectives = Objectives(s, sizes.attributes) if pretraining else None
        if settings.seen == "gain" and not pretraining:
            self.learn_gain()

    def inputs(self, items: ItemSide) -> Tensor:
        """The items' embeddings, [items, d]."""
        return items.of_table(self.item)

    def hidden(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The last block's state at each item: [tokens, d] to [tokens, d]."""
        states: Tensor = self.context(tokens, packed)
        return states

    def newest(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The last block's state at each history's newest item: [tokens, d] to [histories, d]."""
        return self.context.newest(tokens, packed)

    def pretrain_objective(self, items: ItemSide, batch: Batch, processes: Processes) -> Objective:
        """AAP, MIP, MAP and SP of whole sequences: each history with the item that came next.

        Args:
            items: the catalogue.
            batch: this process's share.
            processes: those that share the batch.

        Raises:
            ValueError: the model was not made for pre-training.
        """
        if self.objectives is None:
            raise ValueError("only a model made for pre-training has the objectives")
        table, whole = self.inputs(items), batch.packed.appended(batch.targets)[0]
        sums: dict[str, Tensor] = {}
        if self.objectives.about_items:
            sums |= self._about_items(table, items.attributes, whole, batch)
        if "segment" in self.objectives.weights:
            sums["segment"] = self._about_segments(table, whole, batch, processes)
        count = whole.n_histories
        share = processes.fraction(count) / count
        terms = {name: sums[name] * share for name in self.objectives.weights}
        total = table.new_zeros(())
        for name, weight in self.objectives.weights.items():
            total = total + weight * terms[name]
        return Objective(total, terms)

    def _about_items(
        self, table: Tensor, attributes: ItemAttributes | None, whole: Packed, batch: Batch
    ) -> dict[str, Tensor]:
        """AAP, MIP and MAP, those that have a weight, summed over the sequences."""
        assert self.objectives is not None
        objectives, weights = self.objectives, self.objectives.weights
        keys = keys_within(batch.examples[whole.history_of_token()], whole.places())
        masked = draw_mask(batch.stream, keys, whole, self.mask_probability)
        tokens = F.embedding(whole.items, table)
        states = whole.some(self.context(objectives.with_masks(tokens, masked), whole), masked)
        items, counted = whole.some(whole.items, masked), whole.counted(masked)
        sums: dict[str, Tensor] = {}
        if "masked_item" in weights:
            drawn = others(batch.stream, whole.some(keys, masked), items, len(table), 1).squeeze(1)
            sums["masked_item"] = objectives.masked_items(
                states, whole.some(tokens, masked), F.embedding(drawn, table), counted
            )
        if attributes is not None and "item_attribute" in weights:
            plain = whole.some(whole.items, ~masked)
            sums["item_attribute"] = objectives.item_attributes(
                whole.some(tokens, ~masked), attributes.table(plain), whole.counted(~masked)
            )
        if attributes is not None and "masked_attribute" in weights:
            sums["masked_attribute"] = objectives.masked_attributes(
                states, attributes.table(items), counted
            )
        return sums

    def _about_segments(
        self, table: Tensor, whole: Packed, batch: Batch, processes: Processes
    ) -> Tensor:
        """SP, summed over the sequences."""
        assert self.objectives is not None
        inside, drawn = draw_segments(batch.stream, batch.examples, whole, processes)
        tokens, negative = F.embedding(whole.items, table), F.embedding(drawn, table)
        around, own, other = (
            self.context(self.objectives.with_masks(copy, masked), whole)[whole.last_tokens()]
            for copy, masked in ((tokens, inside), (tokens, ~inside), (negative, ~inside))
        )
        return self.objectives.segments(around, own, other)
