"""The catalogue ranked for one history (eq. 17), and why each item stands where it does."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from miracle_core.model.retrieval import ranks, top_k
from miracle_core.recommender.catalogue import Catalogue
from miracle_core.recommender.results import Recommended
from miracle_core.recommender.routing import Routed


class Ranking:
    """Scores of all items for one history.

    Args:
        routed: the history's interests.
        candidates: [items, d], item vectors as eq. 17 multiplies them.
        ties: int64 [items], the order of items with equal scores.
        seen: items that are left out of the ranking.
        names: ids and titles.
    """

    def __init__(
        self,
        routed: Routed,
        candidates: Tensor,
        ties: Tensor,
        seen: Collection[int],
        names: Catalogue,
    ) -> None:
        self._routed, self._candidates, self._ties, self._names = routed, candidates, ties, names
        self._seen = frozenset(seen)
        self._scores = routed.user @ candidates.T
        self._best, self._winners = self._scores.max(0)
        self._best[sorted(self._seen)] = -torch.inf

    def top(self, k: int) -> tuple[Recommended, ...]:
        """The K best items, or all there are, best first."""
        items = self._top(self._best.unsqueeze(0), k)[0]
        return self._described(items, range(1, len(items) + 1))

    def of_each_interest(self, k: int) -> list[tuple[Recommended, ...]]:
        """For each active capsule the K best of the items it won, with their ranks among all."""
        columns = torch.arange(len(self._scores), device=self._winners.device)
        lost = self._winners != columns.unsqueeze(1)
        best = self._best.expand(len(columns), -1).masked_fill(lost, -torch.inf)
        return [self._described(items, self._ranks(items)) for items in self._top(best, k)]

    def of(self, item: int) -> Recommended:
        """One item with its rank; 0 for one that is left out."""
        return self._described([item], [0] if item in self._seen else self._ranks([item]))[0]

    def _top(self, scores: Tensor, k: int) -> list[list[int]]:
        """The K best items of each row but those with a score of -inf: [rows, items] to lists."""
        values, items = top_k(scores, min(k, scores.shape[1]), self._ties)
        kept = torch.isfinite(values).sum(1).tolist()
        return [row[:count] for row, count in zip(items.tolist(), kept, strict=True)]

    def _ranks(self, items: list[int]) -> list[int]:
        targets = torch.tensor(items, dtype=torch.int64, device=self._best.device)
        found: list[int] = ranks(self._best.expand(len(items), -1), targets, self._ties).tolist()
        return found

    def _described(self, items: list[int], places: Sequence[int]) -> tuple[Recommended, ...]:
        scores = self._scores[:, items].T
        winners = self._winners[items]
        parts = self._routed.parts[:, winners]
        contributions = (parts * self._candidates[items]).sum(-1).T
        rows = zip(
            places,
            items,
            scores.tolist(),
            winners.tolist(),
            contributions.tolist(),
            strict=True,
        )
        return tuple(
            Recommended(
                rank=rank,
                item=item,
                item_id=self._names.item_ids[item],
                title=self._names.titles[item],
                score=of_item[winner],
                capsule=self._routed.capsules[winner],
                scores=tuple(of_item),
                contributions=tuple(brought),
            )
            for rank, item, of_item, winner, brought in rows
        )
