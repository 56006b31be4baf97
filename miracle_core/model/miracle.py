"""The assembly: item text to interests, and what is learned from them. Reads like section 3."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.config import LossSettings, ModelSettings
from miracle_core.data.packed import Packed
from miracle_core.model.adaptor import INIT_STD, MoEAdaptor
from miracle_core.model.capsules import CapsuleOutput, SparseCapsules
from miracle_core.model.context import ContextEncoder
from miracle_core.model.losses import coverage, orthogonality
from miracle_core.model.scoring import max_interest_cross_entropy


@dataclass(frozen=True)
class Losses:
    """The terms of a training loss and their weighted sum, scalars.

    Attributes:
        total: what is minimised.
        terms: each term by name, before its weight.
        activated: int64 [tokens], the capsule each item of the batch activated.
    """

    total: Tensor
    terms: dict[str, Tensor]
    activated: Tensor


class Miracle(nn.Module):
    """MIRACLE (eq. 2-14 and 17).

    Args:
        settings: the network's settings.
        text_width: d_b, the text vectors' width.
        n_items: size of the catalogue whose items get an identity embedding e_v (transductive);
            None for none (inductive, pre-training).
    """

    def __init__(
        self, settings: ModelSettings, text_width: int, n_items: int | None = None
    ) -> None:
        super().__init__()
        s = settings
        self.settings = settings
        self.adaptor = MoEAdaptor(text_width, s.width, s.experts, s.adaptor_dropout, s.gate_noise)
        self.context = ContextEncoder(s.width, s.max_length, s.layers, s.heads, s.inner, s.dropout)
        self.capsules = SparseCapsules(
            s.width,
            s.capsules,
            s.max_length,
            s.iterations,
            s.agreement,
            s.activation_noise,
            s.positional,
        )
        self.identity = (
            None if n_items is None else nn.Parameter(torch.randn(n_items, s.width) * INIT_STD)
        )

    def scaled_text(self, text: Tensor) -> Tensor:
        """Text vectors as the methods below take them: [items, d_b] to [items, d_b].

        Done once for a catalogue, not once a step. A vector of zeros stays one.
        """
        if self.settings.text_scale == "raw":
            return text
        return F.normalize(text, dim=-1) * math.sqrt(text.shape[-1])

    def item_vectors(self, text: Tensor, identity: Tensor | None = None) -> Tensor:
        """x_v of items (eq. 2), plus e_v where given: [items, d_b] to [items, d].

        Args:
            text: [items, d_b], scaled.
            identity: [items, d], the items' rows of ``self.identity``.
        """
        x: Tensor = self.adaptor(text)
        return x if identity is None else x + identity

    def catalogue(self, text: Tensor) -> Tensor:
        """x_v of the whole catalogue from its scaled text: [items, d_b] to [items, d]."""
        return self.item_vectors(text, self.identity)

    def candidates(self, items: Tensor) -> Tensor:
        """Item vectors as eq. 17 multiplies them: as they are, or their directions (cosine)."""
        return items if self.settings.score == "inner" else F.normalize(items, dim=-1)

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
        u = output.interests.vectors
        return u if self.settings.score == "inner" else F.normalize(u, dim=-1)

    def finetune_losses(
        self, text: Tensor, packed: Packed, targets: Tensor, weights: LossSettings
    ) -> Losses:
        """The fine-tuning loss of a batch (eq. 23-24).

        The catalogue's vectors are computed once, for the histories' input and as candidates.

        Args:
            text: [items, d_b], the catalogue's scaled text vectors.
            packed: the batch's histories, item indices into the catalogue.
            targets: int64 [histories], the item each took next, in packed order.
            weights: theta_4 and theta_5.
        """
        x = self.catalogue(text)
        output = self(F.embedding(packed.items, x), packed)
        interests = output.interests.replace_vectors(self.user_vectors(output))
        recommendation = max_interest_cross_entropy(
            interests,
            self.candidates(x),
            targets[interests.users],
            scale=1.0 / self.settings.temperature,
        )
        terms = {
            "recommendation": recommendation,
            "coverage": coverage(output.similarity, output.activated),
            "orthogonality": orthogonality(self.capsules.base),
        }
        total = (
            recommendation
            + weights.coverage * terms["coverage"]
            + weights.orthogonality * terms["orthogonality"]
        )
        return Losses(total, terms, output.activated)
