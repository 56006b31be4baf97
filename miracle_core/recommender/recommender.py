"""A trained run as something to ask: histories in; interests, capsules and recommendations out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import torch

from miracle_core.config import SeenRule
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import seen_rule
from miracle_core.progress import SILENT, Progress, stage
from miracle_core.ranking.rules import Rules
from miracle_core.recommender.answers import Answers
from miracle_core.recommender.encoding import Encoding
from miracle_core.recommender.given import Given, as_list, is_history
from miracle_core.recommender.histories import Histories
from miracle_core.recommender.lists import Recommendations
from miracle_core.recommender.overview import Overview
from miracle_core.recommender.results import (
    Neighbour,
    Recommendation,
)
from miracle_core.systems.scorer import Scorer, VectorScorer


class Recommender(Encoding, Overview):
    """A trained run, loaded to answer; :meth:`load` opens one.

    Its attributes and the arguments of its constructor are those of
    :class:`miracle_core.recommender.loaded.LoadedRun`.
    """

    @cached_property
    def _answers(self) -> Answers:
        """Answers questions about one history."""
        return Answers(
            self._trained,
            self._scorer,
            self._catalogue,
            self._vectors,
            self._ties,
            self.abilities,
            self.label,
        )

    @torch.inference_mode()
    def nearest(self, item: Given, limit: int = 5) -> list[Neighbour]:
        """The nearest catalogue items: by text, or by item vectors if the system reads no text.

        Args:
            item: a catalogue item by its index or :class:`ItemId` (it is left out itself), or a
                :class:`NewTitle`.
            limit: how many at most.

        Raises:
            InputError: no such item, plain text, or the encoder for new titles can't be had.
        """
        return self._vectors.nearest(self._catalogue.known(item), limit)

    # Histories.

    @overload
    def recommend(
        self,
        history: Sequence[Sequence[Given]],
        top_k: int = 10,
        seen: SeenRule | None = None,
        *,
        rules: Rules | None = None,
    ) -> Recommendations: ...

    @overload
    def recommend(
        self,
        history: Iterable[Given],
        top_k: int = 10,
        seen: SeenRule | None = None,
        target: int | np.integer[Any] | None = None,
        approximate: bool = False,
        of_each: int | None = None,
        rules: Rules | None = None,
    ) -> Recommendation: ...

    def recommend(
        self,
        history: Iterable[Given] | Sequence[Sequence[Given]],
        top_k: int = 10,
        seen: SeenRule | None = None,
        target: int | np.integer[Any] | None = None,
        approximate: bool = False,
        of_each: int | None = None,
        rules: Rules | None = None,
    ) -> Recommendation | Recommendations:
        """Interests of a history, and the items they lead to (eq. 5-17).

        Args:
            history: oldest first. An integer is the index of a catalogue item, an :class:`ItemId`
                its id; a :class:`NewTitle` is an item that the catalogue doesn't hold, encoded on
                the spot. A plain ``str`` is refused: it doesn't say whether it is an id or a title
                (``match(text)[0].given`` looks it up). The newest :attr:`max_length` items are
                read. In a transductive run a new item has no embedding of its own and enters with
                its text vector alone.
                For a list of such histories the answer has lists only (:class:`Recommendations`),
                and is many times as fast as one history after another. ``target``, ``approximate``
                and ``of_each`` are for a single history.
            top_k: how many items to recommend, at most as many as there are.
            seen: what becomes of items that the history holds; None takes :attr:`seen`.
            target: a catalogue item to rank as well, such as the one held out.
            approximate: search with the run's index (``miracle index``), not among all items. For
                each interest only items are named whose rank is certain. Scores stay exact.
            of_each: how many of the items that it won are named for each interest; None takes
                ``top_k``.
            rules: what may be recommended, and what a list holds; None takes :attr:`rules`. They
                are applied before anything is chosen, so a list has the best of what they leave.

        Raises:
            InputError: an empty history or title, no such item, an item of another type, a
                ``top_k`` or ``of_each`` below 1, the encoder for new titles can't be had, or rules
                that leave nothing; with ``approximate``, a target, rules, or no fitting index.
        """
        given = as_list(history, "the history")
        if not given or not is_history(given[0]):
            rule = self.seen if seen is None else seen
            return self._answers.recommend(
                given, top_k, rule, target, approximate, of_each, self._rules(rules)
            )
        if target is not None or approximate or of_each is not None:
            raise InputError(
                "target, approximate and of_each are of one history",
                where="recommend",
                remedy="leave them out, or ask for each history by itself",
            )
        ids = tuple(map(str, range(len(given))))
        return self.answer(self._histories(given), ids, top_k, seen, rules=rules)

    def recommend_users(
        self,
        user_ids: Iterable[str] | None = None,
        top_k: int = 10,
        seen: SeenRule | None = None,
        progress: Progress = SILENT,
        rules: Rules | None = None,
    ) -> Recommendations:
        """Lists for users of the data, from their whole histories up to now.

        For millions of users there is ``miracle recommend RUN --users all``, which writes them part
        by part.

        Args:
            user_ids: the users; None for all users, in index order.
            top_k: how many items each.
            seen: what becomes of items that a history holds; None takes :attr:`seen`.
            progress: shows the users done.
            rules: as :meth:`recommend` takes them.

        Raises:
            InputError: no such user, a ``top_k`` below 1, or rules that leave nothing.
        """
        users = self._users_of(user_ids)
        ids = tuple(self.dataset.users["user_id"].gather(users))
        return self.answer(
            Histories.of_users(self.dataset, users), ids, top_k, seen, progress, rules
        )

    def answer(
        self,
        histories: Histories,
        ids: tuple[str, ...],
        top_k: int,
        seen: SeenRule | None = None,
        progress: Progress = SILENT,
        rules: Rules | None = None,
    ) -> Recommendations:
        """Lists for histories that are looked up already (:mod:`miracle_core.batch`).

        Args:
            histories: any number of them, also none.
            ids: the id of each.
            top_k: how many items each.
            seen: what becomes of items that a history holds; None takes :attr:`seen`.
            progress: shows the histories done.
            rules: as :meth:`recommend` takes them.

        Raises:
            InputError: a ``top_k`` below 1, a gain that the run has not learned, new items that
                can't be encoded, or rules that leave nothing.
        """
        if top_k < 1:
            raise InputError(f"top_k is {top_k}", remedy="ask for at least one item")
        rule = seen_rule(self._trained, seen or self.seen)
        with stage(progress, "recommend", len(histories), "users"):
            found = self._many.ranked(
                self._scorer_of(rule), histories, top_k, rule, progress, self._rules(rules)
            )
        labels = None
        if self.abilities.capsules:
            labels = {capsule: self.label(capsule) for capsule in range(self.n_capsules)}
        return Recommendations(
            ids,
            found,
            self._catalogue.item_ids,
            self._catalogue.titles,
            labels,
            self.abilities.interests,
        )

    def _scorer_of(self, rule: SeenRule) -> Scorer:
        """The scorer for a seen rule: with the gain, unless the rule is as-printed.

        For leave-out the gain makes no difference, since the items are no candidates.
        """
        gain = rule != "as-printed"
        if (self.seen != "as-printed") == gain or not isinstance(self._scorer, VectorScorer):
            return self._scorer
        run, inputs = self._trained, self._scorer.inputs
        return run.system.scorer(run.items, gain=gain, inputs=inputs)

    def gain(self) -> float:
        """What is added to the scores of items that the history holds; 0 if nothing is."""
        gain = self._trained.system.gain() if self.seen == "gain" else None
        return 0.0 if gain is None else float(gain.detach())
