"""The four objectives of S3-Rec's pre-training (Zhou et al. 2020, section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from miracle_core.errors import InputError
from miracle_core.layers.linear import INIT_STD, linear
from miracle_core.systems.s3rec.settings import S3RecSettings

# Each objective's name, and whether it is about attributes.
NAMES = {"item_attribute": True, "masked_item": False, "masked_attribute": True, "segment": False}


class Objectives(nn.Module):
    """Predictions by f(x, y) = sigmoid((W x + b) . y), with W and b of its own for each objective.

    All values are sums over rows. Where a method takes ``counted``, bool [rows], only these rows
    count; None: all do.

    Args:
        settings: the weights.
        attributes: how many values each attribute has; without any, the two objectives about
            attributes are left out.

    Attributes:
        weights: of each objective that is not left out, by name.
        mask: [d], takes the place of a hidden item's embedding.
        value: [values, d], the embeddings of attribute values, where there are any.
        maps: W and b of each objective.

    Raises:
        InputError: no objective is left.
    """

    value: nn.Parameter | None

    def __init__(self, settings: S3RecSettings, attributes: tuple[int, ...]) -> None:
        super().__init__()
        weights = {name: getattr(settings, name) for name in NAMES}
        self.weights: dict[str, float] = {
            name: weights[name]
            for name, of_attributes in NAMES.items()
            if weights[name] and (attributes or not of_attributes)
        }
        if not self.weights:
            raise InputError(
                "no objective is left to pre-train by",
                where=", ".join(f"model.{name}" for name in NAMES),
                remedy="give one a weight"
                + ("" if attributes else "; the Dataset has no attributes, which two of them need"),
            )
        d = settings.width
        self.mask = nn.Parameter(torch.randn(d) * INIT_STD)
        self.maps = nn.ModuleDict({name: linear(d, d) for name in self.weights})
        named = any(NAMES[name] for name in self.weights)
        self.register_parameter(
            "value", nn.Parameter(torch.randn(sum(attributes), d) * INIT_STD) if named else None
        )

    @property
    def about_items(self) -> bool:
        """Whether any objective hides single items."""
        return bool(self.weights.keys() - {"segment"})

    def with_masks(self, tokens: Tensor, masked: Tensor) -> Tensor:
        """Tokens with the mask in place of some: [tokens, d] and bool [tokens] to [tokens, d]."""
        return torch.where(masked.unsqueeze(1), self.mask, tokens)

    def item_attributes(self, items: Tensor, have: Tensor, counted: Tensor | None = None) -> Tensor:
        """AAP: -sum_a (y_a log f(e_i, a) + (1 - y_a) log(1 - f(e_i, a))).

        Args:
            items: [rows, d], embeddings.
            have: bool [rows, values], y: which values each has.
            counted: bool [rows].
        """
        return self._attribute_loss("item_attribute", items, have, counted)

    def masked_attributes(
        self, states: Tensor, have: Tensor, counted: Tensor | None = None
    ) -> Tensor:
        """MAP: the same of a masked item, from the state in its place.

        Args:
            states: [rows, d].
            have: bool [rows, values].
            counted: bool [rows].
        """
        return self._attribute_loss("masked_attribute", states, have, counted)

    def masked_items(
        self, states: Tensor, items: Tensor, others: Tensor, counted: Tensor | None = None
    ) -> Tensor:
        """MIP: -log sigmoid(f(h, i) - f(h, j)), with j another item.

        Args:
            states: [rows, d], h, the state in a masked item's place.
            items: [rows, d], the masked item's embedding.
            others: [rows, d], the other item's.
            counted: bool [rows].
        """
        return self._pairwise("masked_item", states, items, others, counted)

    def segments(self, around: Tensor, own: Tensor, others: Tensor) -> Tensor:
        """SP: -log sigmoid(f(s, s') - f(s, s'')), with s'' a negative segment.

        Args:
            around: [rows, d], s, the last state of a sequence without its segment.
            own: [rows, d], s', the last state of the segment alone.
            others: [rows, d], s'', that of a negative segment in its place.
        """
        return self._pairwise("segment", around, own, others, None)

    def _attribute_loss(
        self, name: str, rows: Tensor, have: Tensor, counted: Tensor | None
    ) -> Tensor:
        """The binary cross-entropy of attribute values from some rows (AAP, MAP), summed."""
        if self.value is None:
            raise ValueError("without attributes there is nothing to tell")
        logits = self.maps[name](rows) @ self.value.T
        weight = None if counted is None else counted.to(logits.dtype).unsqueeze(1)
        return F.binary_cross_entropy_with_logits(
            logits, have.to(logits.dtype), weight, reduction="sum"
        )

    def _pairwise(
        self, name: str, rows: Tensor, own: Tensor, others: Tensor, counted: Tensor | None
    ) -> Tensor:
        """-log sigmoid(f(row, own) - f(row, other)) (MIP, SP), summed."""
        mapped = self.maps[name](rows)
        f_own, f_other = ((mapped * each).sum(1).sigmoid() for each in (own, others))
        each = F.softplus(f_other - f_own)
        return (each if counted is None else torch.where(counted, each, 0.0)).sum()
