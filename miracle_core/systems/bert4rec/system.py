"""BERT4Rec: a Transformer that sees both sides and learns to fill gaps (Sun et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.dropout import dropout
from miracle_core.layers.linear import INIT_STD, linear
from miracle_core.layers.transformer import TransformerLayer
from miracle_core.processes import Processes
from miracle_core.ranking.draws import keys_within
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.seen import HadItems, Seen, SeenTable
from miracle_core.systems.base import Batch, Encoded, ItemSide, Objective, Rows, Sizes, System
from miracle_core.systems.bert4rec.cloze import draw_masks
from miracle_core.systems.bert4rec.settings import Bert4RecSettings

if TYPE_CHECKING:
    from miracle_core.config import Settings
    from miracle_core.systems.explanation import VectorExplanation

EPS = 1e-12


class Bert4Rec(System):
    """Sun et al., *BERT4Rec: Sequential Recommendation with Bidirectional Encoder ...*, CIKM 2019.

    Item and position embeddings are added (section 3.4) and go through L Transformer layers whose
    attention sees the whole sequence (eq. 1-6). At a masked place the last layer's state h predicts
    the item (eq. 7),

        P(v) = softmax(GELU(h W^P + b^P) E^T + b^O),

    E being the items' embeddings, shared with the input. Training masks a share rho of every
    sequence and takes the mean of -log P over the masked items (eq. 8). In some sequences only the
    last item is masked (section 3.6). Ranking appends a [MASK] to the history and reads the state
    there, so a sequence has one place more than a history. Training fills that place with the item
    that came next.

    Published: d 64, L 2, 2 heads, N 50 on Beauty and Steam (200 on MovieLens), rho 0.6 (Steam 0.4,
    MovieLens 0.2), Adam at 0.0001 with a linear decay, weight decay 0.01, gradients clipped at 5,
    batches of 256, 400,000 steps: the preset ``paper`` but for the decay and the number of steps.
    Differences:

    - A norm follows eq. 7's GELU, and one the sum of the embeddings, as in BERT and the authors'
      code.
    - Masks are drawn anew in every epoch. The authors draw ten for each sequence, once, and add the
      sequence with its last item masked; here that is a share of the sequences in every epoch.
    - Sequences longer than N + 1 are cut into windows that share an item; the authors' windows
      overlap by nine tenths.
    - One dropout for states and attention weights; the authors have two.
    - The loss may be another one (``loss.recommendation``); each masked item is then compared with
      negatives of its own.
    - By default AdamW at 0.001 with a running mean of weights, and the history's gain, as every
      system here. What a masked place has seen are the items before it that are not masked.
    """

    examples: ClassVar[Literal["prefixes", "sequences"]] = "sequences"
    padded: ClassVar[bool] = True

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__()
        s = settings.model
        if not isinstance(s, Bert4RecSettings) or sizes.items is None:
            raise ValueError("BERT4Rec needs its own settings and a catalogue")
        self.settings = s
        self.max_length = s.max_length
        self.item = nn.Parameter(torch.randn(sizes.items, s.width) * INIT_STD)
        self.mask = nn.Parameter(torch.randn(s.width) * INIT_STD)
        self.position = nn.Parameter(torch.randn(s.max_length + 1, s.width) * INIT_STD)
        self.norm = nn.LayerNorm(s.width, eps=EPS)
        self.layers = nn.ModuleList(
            TransformerLayer(s.width, s.heads, s.inner, s.dropout, EPS) for _ in range(s.layers)
        )
        self.output = linear(s.width, s.width)
        self.output_norm = nn.LayerNorm(s.width, eps=EPS)
        self.bias = nn.Parameter(torch.zeros(sizes.items))
        if settings.seen == "gain":
            self.learn_gain()

    def inputs(self, items: ItemSide) -> Tensor:
        """The items' embeddings, and the bias b^O as one more column: [items, d + 1]."""
        return items.of_table(torch.cat([self.item, self.bias.unsqueeze(1)], 1))

    def encode(self, tokens: Tensor, packed: Packed) -> Encoded:
        """The prediction at a [MASK] appended to each history."""
        # The number 0 stands for no item here: the token's vector is replaced by the mask.
        longer, source = packed.appended(packed.order.new_zeros(packed.n_histories))
        masks = self.mask.expand(packed.n_histories, -1)
        sequence = F.embedding(source, torch.cat([tokens[:, :-1], masks]))
        states = self.hidden(sequence, longer)[longer.last_tokens()]
        return Encoded(Interests.single(self.predictions(states)))

    def hidden(self, tokens: Tensor, packed: Packed) -> Tensor:
        """The last layer's states of whole sequences: [tokens, d] to [tokens, d] (eq. 1-6)."""
        h: Tensor = self.norm(tokens + F.embedding(packed.positions, self.position))
        h = dropout(h, self.settings.dropout, self.training)
        for layer in self.layers:
            h = layer(h, packed)
        return h

    def predictions(self, states: Tensor) -> Tensor:
        """What eq. 7 multiplies by the embeddings, and a 1 for the bias: [n, d] to [n, d + 1]."""
        x: Tensor = self.output_norm(F.gelu(self.output(states)))
        return torch.cat([x, x.new_ones(x.shape[0], 1)], 1)

    def objective(self, items: ItemSide, batch: Batch, processes: Processes) -> Objective:
        """The cloze task (eq. 8): the mean over the masked items of all processes."""
        packed, _ = batch.packed.appended(batch.targets)
        s = self.settings
        masked = draw_masks(packed, batch.examples, batch.stream, s.masked, s.last_only)
        inputs = self.inputs(items)
        tokens = F.embedding(packed.items, inputs)[:, :-1]
        states = self.hidden(torch.where(masked.unsqueeze(1), self.mask, tokens), packed)
        keys = keys_within(batch.examples[packed.history_of_token()], packed.places())
        rows = Rows(
            Interests.single(self.predictions(packed.some(states, masked))),
            packed.some(packed.items, masked),
            self._seen(packed, masked, batch.among),
            packed.some(keys, masked),
            packed.counted(masked),
        )
        loss = self.recommendation(rows, self.candidates(inputs), batch, processes)
        return Objective(loss, {"recommendation": loss})

    def _seen(self, packed: Packed, masked: Tensor, among: Tensor | None) -> HadItems | None:
        """The items that each masked place has seen, with the gain; None if none is learned."""
        gain = self.gain()
        if gain is None:
            return None
        if packed.valid is not None:
            return SeenTable.of_every_token(packed, gain, among, masked)
        return Seen.of_masked_tokens(packed, masked, gain, among)

    def explain(self, tokens: Tensor, packed: Packed, candidates: Tensor) -> VectorExplanation:
        """One history's score, and what it loses without each of the history's items."""
        from miracle_core.systems.explanation import explained_by_leaving_out

        return explained_by_leaving_out(self, tokens, packed, candidates)
