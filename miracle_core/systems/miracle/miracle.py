"""The assembly: item text to interests, and what is learned from them. Reads like section 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import Packed
from miracle_core.layers.linear import INIT_STD
from miracle_core.processes import ALONE, Processes
from miracle_core.systems.base import Batch, Encoded, ItemSide, Objective, Sizes
from miracle_core.systems.contextual import ContextualSystem
from miracle_core.systems.in_batch import next_of_the_batch
from miracle_core.systems.miracle.capsules import CapsuleOutput, SparseCapsules
from miracle_core.systems.miracle.explain import route
from miracle_core.systems.miracle.losses import interest_contrast
from miracle_core.systems.miracle.masking import draw_mask, most_masked
from miracle_core.systems.miracle.regularised import regularised
from miracle_core.systems.miracle.settings import MiracleSettings

if TYPE_CHECKING:
    from miracle_core.config import Settings
    from miracle_core.systems.explanation import VectorExplanation


class Miracle(ContextualSystem):
    """MIRACLE (eq. 2-14 and 17).

    Args:
        settings: the network's settings.
        text_width: d_b, the text vectors' width.
        n_items: size of the catalogue whose items get an identity embedding e_v (transductive);
            None for none (inductive, pre-training).
        mask: whether there is a [MASK] vector, which only pre-training needs.
        gain: whether the score of items that the history holds gains a learned number.
    """

    settings: MiracleSettings

    # The sequence encoder (eq. 6). The norm of its input (eq. 5) is not frozen, as in the authors'
    # code.
    frozen: ClassVar[tuple[str, ...]] = ("context.position", "context.layers.")
    own: ClassVar[tuple[str, ...]] = ("identity", "mask")
    text_side: ClassVar[tuple[str, ...]] = ("adaptor.", "context.")
    padded: ClassVar[bool] = True

    @classmethod
    def build(cls, settings: Settings, sizes: Sizes) -> Self:
        """A network with fresh weights; one for pre-training has a [MASK] vector."""
        own = settings.model
        if not isinstance(own, MiracleSettings) or sizes.text is None:
            raise ValueError("MIRACLE needs its own settings and text vectors")
        transductive = settings.train.mode == "transductive"
        return cls(
            own,
            sizes.text,
            sizes.items if transductive else None,
            mask=bool(settings.datasets),
            gain=settings.seen == "gain",
        )

    def __init__(
        self,
        settings: MiracleSettings,
        text_width: int,
        n_items: int | None = None,
        *,
        mask: bool = False,
        gain: bool = True,
    ) -> None:
        super().__init__(settings, text_width)
        s = settings
        self.n_interests = s.capsules
        self.capsules = SparseCapsules.of(s)
        self.learn_identity(n_items)
        if gain:
            self.learn_gain()
        self.mask = nn.Parameter(torch.randn(s.width) * INIT_STD) if mask else None

    def forward(self, items: Tensor, packed: Packed) -> CapsuleOutput:
        """Interests of histories (eq. 5-14).

        Args:
            items: [tokens, d], the item vector of each token of ``packed``.
            packed: the histories.
        """
        H = self.context(items, packed)
        output: CapsuleOutput = self.capsules(H, packed)
        return output

    def user_vectors(self, output: CapsuleOutput) -> Tensor:
        """Interests as eq. 17 multiplies them: as they are, or their directions (cosine)."""
        return self.scored(output.interests.vectors)

    def encode(self, tokens: Tensor, packed: Packed) -> Encoded:
        """Interests as eq. 17 multiplies them; the detail is the capsules' whole output."""
        output: CapsuleOutput = self(tokens, packed)
        return Encoded(output.interests.replace_vectors(self.user_vectors(output)), output)

    def affinities(self, tokens: Tensor, packed: Packed) -> Tensor:
        """s_ij of each item of some histories with each capsule (eq. 7), [tokens, C]."""
        return self.capsules.similarity(self.context(tokens, packed))

    def capsule_vectors(self) -> Tensor:
        """A [C, d], the capsules' base vectors."""
        return self.capsules.base

    def explain(self, tokens: Tensor, packed: Packed, candidates: Tensor) -> VectorExplanation:
        """Interests of one history, strongest first, and how they came about (eq. 5-14)."""
        return route(self, tokens, packed, candidates)

    def weighted(
        self, encoded: Encoded, packed: Packed, recommendation: Tensor, processes: Processes
    ) -> Objective:
        """The terms of eq. 24, weighted."""
        return regularised(
            self.settings, self.capsules, encoded.detail, packed, recommendation, processes
        )

    def pretrain_objective(
        self, items: ItemSide, batch: Batch, processes: Processes = ALONE
    ) -> Objective:
        """The pre-training loss of a batch (eq. 15-22).

        Args:
            items: the batch's own items, each once: scaled text vectors, and as ``rows`` their
                numbers, which are the same in all processes (None for a single process).
            batch: this process's share, item indices into ``items``.
            processes: those that share the batch.
        """
        s = self.settings
        # Without the contrast (section 4.4, "w/o IC") nothing is masked.
        masked = None
        if s.contrast:
            masked = draw_mask(batch.packed, s.mask_probability, s.mask_min_length)
        most = None
        if batch.packed.valid is not None:
            most = most_masked(batch.packed, s.mask_probability)
        return self.pretrain_losses(items, batch, masked, processes, most)

    def pretrain_losses(
        self,
        items: ItemSide,
        batch: Batch,
        masked: Tensor | None,
        processes: Processes = ALONE,
        most: int | None = None,
    ) -> Objective:
        """:meth:`pretrain_objective` with given masks.

        Args:
            items: the batch's own items.
            batch: this process's share.
            masked: bool [tokens], the items to mask (:func:`draw_mask`); None leaves the contrast
                out, and with it the second pass through the network.
            processes: those that share the batch.
            most: the most items of a padded batch that are masked (:func:`most_masked`); None
                allows all.
        """
        packed = batch.packed
        x = self.item_vectors(items.required_text())
        tokens = F.embedding(packed.items, x)
        encoded = self.encode(tokens, packed)
        recommendation = next_of_the_batch(self, encoded.interests, x, items, batch, processes)
        # Before the other terms: gradients are added in the order of what made them.
        contrast = None
        if masked is not None and packed.valid is None:
            contrast = self._contrast(tokens, packed, masked, encoded.detail, processes)
        elif masked is not None:
            most = packed.n_tokens if most is None else most
            contrast = self._padded_contrast(
                tokens, packed, masked, encoded.detail, most, processes
            )
        objective = self.weighted(encoded, packed, recommendation, processes)
        if contrast is None:
            return objective
        total = objective.total + self.settings.contrast * contrast
        return Objective(total, {**objective.terms, "contrast": contrast}, objective.counters)

    def _contrast(
        self,
        items: Tensor,
        packed: Packed,
        masked: Tensor,
        output: CapsuleOutput,
        processes: Processes,
    ) -> Tensor:
        """l_i of a batch (eq. 15): only histories with a masked item are encoded again.

        Args:
            items: [tokens, d], the items' vectors.
            packed: the histories.
            masked: bool [tokens].
            output: the capsules' output for the histories without masks.
            processes: those that share the batch.
        """
        if self.mask is None:
            raise ValueError("only a model made for pre-training has a [MASK] vector")
        if not masked.any():
            none = output.interests.vectors[:0]
            return interest_contrast(none, none, processes)
        history = packed.history_of_token()
        chosen = torch.zeros(packed.n_histories, dtype=torch.bool, device=masked.device)
        chosen[history[masked]] = True
        copy, tokens = packed.select(chosen)
        x = torch.where(masked[tokens].unsqueeze(1), self.mask, F.embedding(tokens, items))
        again = self.capsules(self.context(x, copy), copy, output.activated[tokens])
        # One row a (user, capsule), however many of the user's masked items activate it.
        pairs = torch.stack([history[masked], output.activated[masked]], 1).unique(dim=0)
        users, capsules = pairs.unbind(1)
        in_copy = chosen.cumsum(0) - 1
        return interest_contrast(
            F.embedding(output.interests.rows_of(users, capsules), output.interests.vectors),
            F.embedding(again.interests.rows_of(in_copy[users], capsules), again.interests.vectors),
            processes,
        )

    def _padded_contrast(
        self,
        items: Tensor,
        packed: Packed,
        masked: Tensor,
        output: CapsuleOutput,
        most: int,
        processes: Processes,
    ) -> Tensor:
        """l_i of a padded batch: all histories are encoded again, and the number of rows is fixed.

        Args:
            items: [tokens, d], the items' vectors.
            packed: the histories, padded.
            masked: bool [tokens], no padding among them.
            output: the capsules' output for the histories without masks.
            most: the most tokens that are masked.
            processes: those that share the batch.
        """
        if self.mask is None:
            raise ValueError("only a model made for pre-training has a [MASK] vector")
        x = torch.where(masked.unsqueeze(1), self.mask, items)
        again = self.capsules(self.context(x, packed), packed, output.activated)
        # The pair (user, capsule) of each masked item as one number, in a row of its own. Rows
        # that no item needs hold a number beyond all pairs.
        capsules, beyond = self.settings.capsules, packed.n_histories * self.settings.capsules
        pair = packed.history_of_token() * capsules + output.activated
        row = torch.where(masked, masked.cumsum(0) - 1, most).clamp_max(most)
        pairs = pair.new_full((most + 1,), beyond).scatter_(0, row, pair)[:most]
        pairs = torch.where(torch.arange(most, device=row.device) < masked.sum(), pairs, beyond)
        pairs = pairs.sort().values
        counted = (pairs.diff(prepend=pairs.new_full((1,), -1)) > 0) & (pairs < beyond)
        pairs = torch.where(counted, pairs, 0)
        rows = output.interests.rows_of(pairs // capsules, pairs % capsules)
        return interest_contrast(
            F.embedding(rows, output.interests.vectors),
            F.embedding(rows, again.interests.vectors),
            processes,
            counted,
        )
