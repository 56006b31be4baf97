"""Vectors of catalogue items and of new ones, and the items near them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.errors import InputError
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.seen import Seen
from miracle_core.ranking.walk import best_items
from miracle_core.recommender.given import Known, NewTitle
from miracle_core.recommender.new_titles import NewTitles
from miracle_core.recommender.results import Neighbour
from miracle_core.runs.opening import TrainedRun
from miracle_core.systems.base import ItemSide
from miracle_core.systems.scorer import Scorer, VectorScorer


class ItemVectors:
    """The vectors of items in a run.

    Args:
        run: the run, on its device.
        scorer: what ranks its catalogue.
        new_titles: encodes titles that the catalogue doesn't hold; None where no text is read.
        ties: int64 [items], the order of items with equal similarity.
    """

    def __init__(
        self, run: TrainedRun, scorer: Scorer, new_titles: NewTitles | None, ties: Tensor
    ) -> None:
        self._run, self._scorer = run, scorer
        self._new_titles, self._ties = new_titles, ties

    @cached_property
    def directions(self) -> Tensor | None:
        """The vectors that say how near items are, of length 1 (or 0): [items, d_b] or [items, d].

        Text vectors, or the system's own item vectors if it reads no text; None if it has neither.
        """
        if self._run.items.text is not None:
            return F.normalize(self._run.items.text, dim=-1)
        if isinstance(self._scorer, VectorScorer) and self._scorer.items.shape[1] > 1:
            return F.normalize(self._scorer.items, dim=-1)
        return None

    def new_inputs(self, given: Sequence[Known]) -> Tensor | None:
        """The inputs of the new items of a history, in order, [new items, w]; None for none.

        A new item has no identity embedding, so its vector follows from its text alone.

        Raises:
            InputError: the system knows items of its catalogue only, or the encoder for new titles
                can't be had.
        """
        titles = [item.title for item in given if isinstance(item, NewTitle)]
        if not titles:
            return None
        # One by one, so that a vector doesn't depend on others beside it.
        texts = [ItemSide(self._new_text(title), new=True) for title in titles]
        return torch.cat([self._run.system.inputs(text) for text in texts])

    def nearest(self, item: Known, limit: int) -> list[Neighbour]:
        """The nearest catalogue items by the cosine of :attr:`directions`, without the item itself.

        Raises:
            InputError: a new item, and what :meth:`new_inputs` raises.
        """
        if isinstance(item, NewTitle):
            query = F.normalize(self._new_text(item.title), dim=-1)
        elif self.directions is not None:
            query = self.directions[item].unsqueeze(0)
        if self.directions is None:
            return []
        itself = None
        count = len(self.directions)
        if not isinstance(item, NewTitle):
            count -= 1
            user, row = self._ties.new_zeros(1), self._ties.new_tensor([item])
            itself = Seen.of_pairs(user, row, query.new_tensor(-torch.inf), 1)
        if min(limit, count) < 1:
            return []
        values, items = best_items(
            Interests.single(query), self.directions, min(limit, count), itself, ties=self._ties
        )
        return [
            Neighbour(*pair) for pair in zip(items[0].tolist(), values[0].tolist(), strict=True)
        ]

    def check_new(self, title: str) -> None:
        """Check that a new title can be encoded, by loading the encoder.

        Raises:
            InputError: the system knows items of its catalogue only, or the encoder can't be had.
        """
        self._encoding(title)[0].load()

    def _encoding(self, title: str) -> tuple[NewTitles, Tensor]:
        """The encoder of new titles, and the catalogue's text vectors.

        Raises:
            InputError: the system knows items of its catalogue only.
        """
        text = self._run.items.text
        if self._new_titles is None or text is None:
            raise InputError(
                f"{self._run.spec.name} knows its catalogue's items only, and {title!r} is new",
                remedy="name items of the catalogue by title or id; systems that read text "
                "take new ones (miracle models)",
            )
        return self._new_titles, text

    def _new_text(self, title: str) -> Tensor:
        """A new title's text vector as the system takes it, [1, d_b]."""
        titles, text = self._encoding(title)
        vector = titles.vector(title).to(text.device)
        return self._run.system.prepared(vector.unsqueeze(0))
