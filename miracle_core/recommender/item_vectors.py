"""Vectors of catalogue items and of new ones, and what lies near them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.model.miracle import Miracle
from miracle_core.model.retrieval import top_k
from miracle_core.recommender.given import Known, NewTitle
from miracle_core.recommender.new_titles import NewTitles
from miracle_core.recommender.results import Neighbour


class ItemVectors:
    """What the model sees of items.

    Args:
        model: in evaluation mode.
        catalogue: [items, d], the catalogue's item vectors.
        text: [items, d_b], its scaled text vectors.
        new_titles: encodes titles that the catalogue doesn't hold.
        ties: int64 [items], the order of items with equal similarity.
    """

    def __init__(
        self, model: Miracle, catalogue: Tensor, text: Tensor, new_titles: NewTitles, ties: Tensor
    ) -> None:
        self._model, self._catalogue, self._text = model, catalogue, text
        self._new_titles, self._ties = new_titles, ties

    @cached_property
    def text_directions(self) -> Tensor:
        """The catalogue's text vectors with length 1 (or 0), [items, d_b]."""
        return F.normalize(self._text, dim=-1)

    def of(self, given: Sequence[Known]) -> Tensor:
        """Item vectors of a history (eq. 2), [n, d].

        A new item has no identity embedding: it is its text's vector alone.

        Args:
            given: catalogue items, and new ones.

        Raises:
            InputError: the encoder for new titles can't be had.
        """
        x = self._catalogue.new_empty(len(given), self._catalogue.shape[1])
        for row, item in enumerate(given):
            if isinstance(item, NewTitle):
                x[row] = self._model.item_vectors(self._new_text(item.title))[0]
            else:
                x[row] = self._catalogue[item]
        return x

    def nearest(self, item: Known, limit: int) -> list[Neighbour]:
        """Catalogue items by the cosine of text vectors, without the item itself."""
        if isinstance(item, NewTitle):
            query = F.normalize(self._new_text(item.title), dim=-1)[0]
        else:
            query = self.text_directions[item]
        cosines = (self.text_directions @ query).unsqueeze(0)
        count = cosines.shape[1]
        if not isinstance(item, NewTitle):
            cosines[0, item] = -torch.inf
            count -= 1
        if min(limit, count) < 1:
            return []
        values, items = top_k(cosines, min(limit, count), self._ties)
        return [
            Neighbour(*pair) for pair in zip(items[0].tolist(), values[0].tolist(), strict=True)
        ]

    def _new_text(self, title: str) -> Tensor:
        """A new title's scaled text vector, [1, d_b]."""
        vector = self._new_titles.vector(title).to(self._text.device)
        return self._model.scaled_text(vector.unsqueeze(0))
