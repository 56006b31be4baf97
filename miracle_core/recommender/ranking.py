"""The catalogue ranked for one history (eq. 17), and why each item has its rank.

With an index, only the items that it found are ranked. Their scores are exact. A *row* is a place
among the ranked items; if all items are ranked, it is the item itself.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from miracle_core.index.search import Found
from miracle_core.ranking.applied import Applied
from miracle_core.ranking.order import ranks, top_k
from miracle_core.ranking.rules import RuleError
from miracle_core.ranking.seen import Seen
from miracle_core.recommender.catalogue import Catalogue
from miracle_core.recommender.results import Recommended
from miracle_core.systems.explanation import Explanation


class Ranking:
    """Scores of all items, or of those found, for one history.

    Args:
        explained: the history's scores under each interest, and what explains them.
        named: whether answers name interests.
        ties: int64 [items], the order of items with equal scores.
        had: the history's items, whose scores gain ``gain``.
        gain: what these scores gain.
        seen: items that are left out of the ranking.
        names: ids and titles.
        found: what an index found; None ranks all items.
        rules: the rules for the list; None together with ``found``.
        near: [items], what scores gain by items that the same users took; None for nothing.

    Raises:
        InputError: the rules leave no interest.
    """

    def __init__(
        self,
        explained: Explanation,
        named: bool,
        ties: Tensor,
        had: Collection[int],
        gain: float,
        seen: Collection[int],
        names: Catalogue,
        found: Found | None = None,
        rules: Applied | None = None,
        near: Tensor | None = None,
    ) -> None:
        self._items = None if found is None else found.items
        self._floor = -torch.inf if found is None else found.floor
        self._ties = ties if found is None else ties[found.items]
        self._explained, self._named, self._names = explained, named, names
        self._seen = frozenset(seen)
        self._scores = explained.each(self._items)
        self._rules = rules
        self._boosts = torch.zeros(len(self._scores), device=self._scores.device)
        self._counting = self._scores
        if rules is not None and rules.rules.boost:
            self._boosts = rules.boosts(torch.tensor(explained.which)).to(self._scores.device)
            self._counting = self._scores + self._boosts.unsqueeze(1)
        if rules is not None and rules.rules.of_interests:
            self._counting = self._counting.masked_fill(
                ~_interests_that_count(explained, rules).to(self._scores.device), -torch.inf
            )
        self._best, self._winners = self._counting.max(0)
        self._gains = torch.zeros_like(self._best)
        self._add(had, gain, self._gains)
        self._best += self._gains
        self._near = torch.zeros_like(self._best) if near is None else near.to(self._best)
        self._best += self._near
        self._add(self._seen, -torch.inf, self._best)
        if rules is not None:
            rules.leave_out(self._best.unsqueeze(0))

    def top(self, k: int) -> tuple[Recommended, ...]:
        """The K best items, or all there are, best first.

        Raises:
            RuleError: the rules and the seen rule leave no item.
        """
        best = self._best.unsqueeze(0)
        if self._rules is None or not self._rules.rules.of_lists:
            rows = self._top(best, k)[0]
        else:
            k = min(k, best.shape[1])
            groups = ((len(self._counting), 1),)
            values, items = self._rules.best(best, self._counting, groups, k, self._ties)
            rows = items[torch.isfinite(values)].tolist()
        if not rows and self._rules is not None:
            raise RuleError(
                "the rules leave no item that the history doesn't leave out",
                *sorted(self._rules.rules.model_fields_set),
                remedy="loosen them, or rank by the seen rule as-printed",
            )
        return self._described(rows, range(1, len(rows) + 1))

    def of_each_interest(self, k: int) -> list[tuple[Recommended, ...]]:
        """For each interest the K best of the items it won, with their ranks among all.

        With an index only items whose rank is certain: no item that it did not find can be better.
        """
        columns = torch.arange(len(self._scores), device=self._winners.device)
        lost = (self._winners != columns.unsqueeze(1)) | (self._best < self._floor)
        best = self._best.expand(len(columns), -1).masked_fill(lost, -torch.inf)
        return [self._described(rows, self._ranks(rows)) for rows in self._top(best, k)]

    def of(self, item: int) -> Recommended:
        """One item with its rank among all; 0 if it is left out. Not for use with an index."""
        gone = bool(torch.isneginf(self._best[item]))
        return self._described([item], [0] if gone else self._ranks([item]))[0]

    def _add(self, items: Collection[int], gain: float, scores: Tensor) -> None:
        """Add to the scores of some items, [items], in place."""
        rows = self._rows(items)
        if len(rows):
            one_user = Seen(torch.zeros_like(rows), rows, scores.new_tensor(gain), [0, len(rows)])
            one_user.add_to(scores.unsqueeze(0))

    def _rows(self, items: Collection[int]) -> Tensor:
        rows = torch.tensor(sorted(items), dtype=torch.int64, device=self._best.device)
        return rows if self._items is None else torch.isin(self._items, rows).nonzero().squeeze(1)

    def _top(self, scores: Tensor, k: int) -> list[list[int]]:
        """For each interest, the rows of the K best items, without those of -inf."""
        values, best = top_k(scores, min(k, scores.shape[1]), self._ties)
        kept = torch.isfinite(values).sum(1).tolist()
        return [row[:count] for row, count in zip(best.tolist(), kept, strict=True)]

    def _ranks(self, rows: list[int]) -> list[int]:
        targets = torch.tensor(rows, dtype=torch.int64, device=self._best.device)
        places: list[int] = ranks(self._best.expand(len(rows), -1), targets, self._ties).tolist()
        return places

    def _described(self, rows: list[int], places: Sequence[int]) -> tuple[Recommended, ...]:
        chosen = torch.tensor(rows, dtype=torch.int64, device=self._best.device)
        scores, winners = self._scores[:, chosen].T, self._winners[chosen]
        items = chosen if self._items is None else self._items[chosen]
        parts = self._explained.contributions(items, winners)
        brought = [()] * len(rows) if parts is None else map(tuple, parts.T.tolist())
        table = zip(
            places,
            items.tolist(),
            scores.tolist(),
            winners.tolist(),
            brought,
            self._gains[chosen].tolist(),
            self._boosts[winners].tolist(),
            self._near[chosen].tolist(),
            strict=True,
        )
        return tuple(
            Recommended(
                rank=rank,
                item=item,
                item_id=self._names.item_ids[item],
                title=self._names.titles[item],
                score=of_item[winner] + gain + boost + near,
                capsule=self._explained.which[winner] if self._named else None,
                scores=tuple(of_item) if self._named else (),
                contributions=adds,
                repeat=gain,
                boost=boost,
                cooccurrence=near,
            )
            for rank, item, of_item, winner, adds, gain, boost, near in table
        )


def _interests_that_count(explained: Explanation, rules: Applied) -> Tensor:
    """Which interests of a history count, bool [interests, 1].

    Raises:
        InputError: none does.
    """
    which, strengths = torch.tensor(explained.which), torch.tensor(explained.strengths)
    kept = rules.counting(which, strengths)
    if not kept.any():
        raise RuleError(
            f"the rules leave none of the history's {len(kept)} interests (the strongest has "
            f"{float(strengths.max()):.3f})",
            "mute",
            "min_strength",
            remedy="mute fewer, or ask for less strength",
        )
    return kept.unsqueeze(1)
