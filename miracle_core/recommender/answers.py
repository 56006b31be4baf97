"""Answers about one history: its interests, and the items they lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from miracle_core.config import SeenRule
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import seen_rule
from miracle_core.index.search import Found, Index
from miracle_core.index.store import check_vectors_alone, open_index, vector_scorer
from miracle_core.ranking.applied import Applied
from miracle_core.recommender.catalogue import Catalogue
from miracle_core.recommender.given import Given, Known, NewTitle, as_list
from miracle_core.recommender.item_vectors import ItemVectors
from miracle_core.recommender.labels import shortened
from miracle_core.recommender.ranking import Ranking
from miracle_core.recommender.results import (
    Abilities,
    ActiveCapsule,
    HistoryItem,
    Recommendation,
    Recommended,
    Trace,
)
from miracle_core.runs.opening import TrainedRun
from miracle_core.systems.explanation import Explanation, Routing
from miracle_core.systems.scorer import Scorer


class Answers:
    """Answers a run's questions about one history.

    Args:
        run: the run, on its device.
        scorer: what ranks its catalogue.
        catalogue: ids and titles.
        vectors: of catalogue items and of new ones.
        ties: int64 [items], the order of items with equal scores.
        abilities: what can be asked of the system.
        label: gives a capsule's words.
    """

    def __init__(
        self,
        run: TrainedRun,
        scorer: Scorer,
        catalogue: Catalogue,
        vectors: ItemVectors,
        ties: Tensor,
        abilities: Abilities,
        label: Callable[[int], str],
    ) -> None:
        self._run, self._scorer, self._catalogue = run, scorer, catalogue
        self._vectors, self._ties, self._abilities = vectors, ties, abilities
        self._label = label

    @torch.inference_mode()
    def recommend(
        self,
        history: Iterable[Given],
        top_k: int,
        seen: SeenRule | None,
        target: int | np.integer[Any] | None,
        approximate: bool,
        of_each: int | None,
        rules: Applied | None,
    ) -> Recommendation:
        """See :meth:`miracle_core.recommender.recommender.Recommender.recommend`."""
        history = as_list(history, "the history")
        if not history:
            raise InputError("the history is empty", remedy="name at least one item")
        if top_k < 1:
            raise InputError(f"top_k is {top_k}", remedy="ask for at least one item")
        of_each = top_k if of_each is None else of_each
        if of_each < 1:
            raise InputError(f"of_each is {of_each}", remedy="ask for at least one item")
        if target is not None:
            target = self._catalogue.check(target)
            if approximate:
                raise InputError("an index gives no rank of a target", remedy="search exactly")
        if approximate and rules is not None:
            raise InputError("an index does not know of rules", remedy="search exactly")
        if approximate:
            check_vectors_alone(self._run)
        given = self._catalogue.known_all(history, "")
        first = max(len(given) - (self._scorer.max_length or len(given)), 0)
        read = given[first:]
        explained = self._scorer.explain(
            [item if isinstance(item, int) else -1 for item in read], self._vectors.new_inputs(read)
        )
        rule = seen_rule(self._run, seen)
        had = {item for item in read if isinstance(item, int)}
        gain = self._run.system.gain() if rule == "gain" else None
        left_out = (
            {item for item in given if isinstance(item, int)} if rule == "leave-out" else set()
        )
        found = None
        if approximate:
            # The seen rule may leave out the history's items, or move them down or up.
            found = self._found(explained, top_k + len(had | left_out)).adding(had)
        named = self._abilities.capsules or self._abilities.interests
        ranking = Ranking(
            explained,
            named,
            self._ties,
            had,
            0.0 if gain is None else float(gain),
            left_out,
            self._catalogue,
            found,
            rules,
            self._near(read),
        )
        activated: list[int | None] = [None] * len(given)
        if explained.activated is not None:
            activated[first:] = explained.activated
        return Recommendation(
            history=tuple(map(self._history_item, given, activated)),
            capsules=self._interests(explained, activated, ranking.of_each_interest(of_each))
            if named
            else (),
            items=ranking.top(top_k),
            target=None if target is None else ranking.of(target),
            first=first,
            trace=None if explained.routing is None else _trace(explained.routing, first),
            additive=explained.additive,
        )

    def _interests(
        self,
        explained: Explanation,
        activated: Sequence[int | None],
        best: Sequence[tuple[Recommended, ...]],
    ) -> tuple[ActiveCapsule, ...]:
        """The interests of a history, with the best of the items that each won."""
        return tuple(
            ActiveCapsule(
                capsule=number,
                strength=strength,
                label=self._label(number) if self._abilities.capsules else _own_label(number, won),
                items=tuple(place for place, own in enumerate(activated) if own == number),
                best=won,
            )
            for number, strength, won in zip(
                explained.which, explained.strengths, best, strict=True
            )
        )

    def _near(self, read: Sequence[Known]) -> Tensor | None:
        """What scores gain by items that the same users took, [items]."""
        counts = self._run.system.cooccurrence
        if counts is None:
            return None
        near = counts.of_history([item if isinstance(item, int) else -1 for item in read])
        return near.gains(1)[0]

    def _found(self, explained: Explanation, k: int) -> Found:
        """The ``k`` items that the run's index finds for one history."""
        scorer = vector_scorer(self._run)
        if explained.vectors is None:
            raise ValueError("a system that ranks by vectors explains itself by vectors")
        return self._index.find(explained.vectors, scorer.items, k)

    @cached_property
    def _index(self) -> Index:
        return open_index(self._run, vector_scorer(self._run).items.shape[1])[0]

    def _history_item(self, item: Known, capsule: int | None) -> HistoryItem:
        if isinstance(item, NewTitle):
            return HistoryItem(None, None, item.title, capsule)
        catalogue = self._catalogue
        return HistoryItem(item, catalogue.item_ids[item], catalogue.titles[item], capsule)


def _own_label(number: int, won: Sequence[Recommended]) -> str:
    """A label for an interest of one history only: the title of its best item, or its number."""
    return shortened(won[0].title) if won else f"interest {number}"


def _trace(routing: Routing, first: int) -> Trace:
    return Trace(
        first=first,
        similarity=routing.similarity.cpu().numpy(),
        routing=routing.routing.cpu().numpy(),
        importance=routing.importance.cpu().numpy(),
        agreement=routing.agreement.cpu().numpy(),
    )
