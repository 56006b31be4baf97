"""UniSRec: sequence representations from text, transferable between domains (Hou et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.adaptor import MoEAdaptor, scaled
from miracle_core.layers.context import ContextEncoder
from miracle_core.layers.linear import INIT_STD
from miracle_core.layers.radial import directions
from miracle_core.processes import Processes
from miracle_core.ranking.interests import Interests
from miracle_core.systems.base import Batch, Encoded, ItemSide, Objective, Sizes, System
from miracle_core.systems.in_batch import next_of_the_batch
from miracle_core.systems.unisrec.contrast import kept_items, sequence_contrast
from miracle_core.systems.unisrec.settings import UniSRecSettings

if TYPE_CHECKING:
    from miracle_core.config import Settings
    from miracle_core.systems.explanation import VectorExplanation


class UniSRec(System):
    """Hou et al., *Towards Universal Sequence Representation Learning for ...*, KDD 2022.

    Items (section 2.1). Each of G experts turns a text vector x into (x - b_k) W_k, a *parametric
    whitening*. The item's vector is v = sum_k g_k (x - b_k) W_k with the gate
    g = softmax(x W_g + delta), delta = N(0, 1) softplus(x W_d) in training. A transductive
    fine-tuning adds an embedding of the item (section 2.3).

    Sequences (section 2.2). v plus an embedding of its place goes through L layers of
    self-attention from left to right; s is the state at the newest item. A score is
    cos(s, v) / tau.

    Pre-training (section 2.2) has two contrasts, in batches that mix all domains. *Sequence-item*:
    each sequence is to find its next item among the next items of the batch. *Sequence-sequence*,
    with the weight lambda: each is to find its own copy with items dropped among the copies of the
    batch. Fine-tuning (section 2.3) is the softmax over the catalogue. After a pre-training it
    keeps the sequence encoder and learns the adaptor.

    Published, by the paper and the authors' code: d 300, 8 experts, 2 layers of 2 heads and 256
    inside, dropout 0.5 (0.2 before the whitenings), tau 0.07, lambda 0.001, a fifth of the items
    dropped; 300 epochs of pre-training in batches of 8,192, then batches of 2,048, Adam at 0.001,
    NDCG@10 with a patience of 10: the preset ``paper``. Where the paper leaves a choice, the
    authors' code settles it: the causal mask, 0.01 added to the noise's scale, a norm and dropout
    of the input, directions in every score, copies as the negatives of the second contrast, and
    that a frozen encoder is its places and layers, while the norm of its input learns on. What
    differs here:

    - No *word drop*, the augmentation that the authors take for a tenth of their batches: it needs
      a second vector of each text with words left out, and a Dataset holds vectors of whole texts.
      Every batch drops items.
    - Another sequence with the same next item is no negative. The authors' code intends that, too,
      but sets its logit to 0, so it still counts as exp(0) = 1.
    - Places count from the newest item, in the authors' code from the oldest.
    - Dropped items are drawn by (seed, epoch, example). The oldest is never dropped, as in theirs.
    - By default candidates of the first contrast are corrected for how often they are drawn
      (``pretrain.log_q``), scores have the history's gain, text vectors are scaled, and AdamW has a
      running mean of weights. The preset ``paper`` has none of that, but AdamW (without decay).
    """

    frozen: ClassVar[tuple[str, ...]] = ("context.position", "context.layers.")
    own: ClassVar[tuple[str, ...]] = ("identity",)
    text_side: ClassVar[tuple[str, ...]] = ("adaptor.",)
    padded: ClassVar[bool] = True

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__()
        s = settings.model
        if not isinstance(s, UniSRecSettings) or sizes.text is None:
            raise ValueError("UniSRec needs its own settings and text vectors")
        self.settings = s
        self.max_length: int = s.max_length
        self.temperature = s.temperature
        self.adaptor = MoEAdaptor(
            sizes.text, s.width, s.experts, s.adaptor_dropout, gate_bias=False
        )
        self.context = ContextEncoder(
            s.width, s.max_length, s.layers, s.heads, s.inner, s.dropout, causal=True
        )
        n_items = sizes.items if settings.train.mode == "transductive" else None
        self.identity: nn.Parameter | None = (
            None if n_items is None else nn.Parameter(torch.randn(n_items, s.width) * INIT_STD)
        )
        if settings.seen == "gain":
            self.learn_gain()

    def prepared(self, text: Tensor) -> Tensor:
        """Text vectors with a root mean square of 1, or as they are (``model.text_scale``)."""
        return scaled(text, self.settings.text_scale)

    def inputs(self, items: ItemSide) -> Tensor:
        """The vectors v of items, plus their embeddings where they have one: [items, d]."""
        identity: Tensor | None = None if items.new else self.identity
        if identity is not None:
            identity = items.of_table(identity)
        v: Tensor = self.adaptor(items.required_text(), identity)
        return v

    def candidates(self, inputs: Tensor) -> Tensor:
        """Their directions."""
        return directions(inputs)

    def encode(self, tokens: Tensor, packed: Packed) -> Encoded:
        """The direction of s, the state at each history's newest item."""
        states = self.context(tokens, packed)[packed.last_tokens()]
        return Encoded(Interests.single(directions(states)))

    def pretrain_objective(self, items: ItemSide, batch: Batch, processes: Processes) -> Objective:
        """Both contrasts: ``recommendation`` is sequence-item, ``contrast`` sequence-sequence."""
        packed = batch.packed
        v = self.inputs(items)
        tokens = F.embedding(packed.items, v)
        interests = self.encode(tokens, packed).interests
        loss = next_of_the_batch(self, interests, v, items, batch, processes)
        if not self.settings.contrast:
            return Objective(loss, {"recommendation": loss})
        copies = self._copies(tokens, batch)
        targets = batch.targets if items.rows is None else items.rows[batch.targets]
        contrast = sequence_contrast(
            interests.vectors, copies, targets, self.temperature, processes
        )
        terms = {"recommendation": loss, "contrast": contrast}
        return Objective(loss + self.settings.contrast * contrast, terms)

    def _copies(self, tokens: Tensor, batch: Batch) -> Tensor:
        """The direction of each history's state with items dropped, [histories, d]."""
        packed = batch.packed
        copy, places = packed.keep(kept_items(batch, self.settings.item_drop))
        vectors = self.encode(F.embedding(places, tokens), copy).interests.vectors
        # The copies are sorted by lengths of their own: back into the histories' order.
        owner = packed.history_of_token()[places[copy.last_tokens()]]
        return F.embedding(owner.argsort(), vectors)

    def explain(self, tokens: Tensor, packed: Packed, candidates: Tensor) -> VectorExplanation:
        """One history's score, and what it loses without each item: a state is no sum of items."""
        from miracle_core.systems.explanation import explained_by_leaving_out

        return explained_by_leaving_out(self, tokens, packed, candidates)
