"""A trained run as something to ask: histories in; interests, capsules and recommendations out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import torch

from miracle_core.config import SeenRule
from miracle_core.data.dataset import EncoderIdentity, Split
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import seen_rule
from miracle_core.index.key import catalogue_key
from miracle_core.index.store import check_vectors_alone
from miracle_core.progress import SILENT, Progress, stage
from miracle_core.ranking.rules import Rules
from miracle_core.recommender import people
from miracle_core.recommender.answers import Answers
from miracle_core.recommender.capsule_map import CapsuleMap
from miracle_core.recommender.given import Given, NewTitle, as_list, check_index, is_history
from miracle_core.recommender.histories import Histories
from miracle_core.recommender.lists import Recommendations, Vectors
from miracle_core.recommender.loaded import LoadedRun
from miracle_core.recommender.many import ManyHistories
from miracle_core.recommender.results import (
    Activations,
    CapsuleSummary,
    CapsuleUse,
    Integers,
    Neighbour,
    Recommendation,
    UserHistory,
    UserTable,
)
from miracle_core.systems.scorer import Scorer, VectorScorer

SAMPLE_USERS = 12


class Recommender(LoadedRun):
    """A trained run, loaded to answer; :meth:`load` opens one.

    Its attributes and the arguments of its constructor are those of :class:`LoadedRun`.
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

    @cached_property
    def _many(self) -> ManyHistories:
        """Answers questions about many histories at once."""
        return ManyHistories(self._trained, self._vectors, self._ties)

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

    def _users_of(self, user_ids: Iterable[str] | None) -> Integers:
        if user_ids is None:
            return np.arange(self.n_users)
        wanted = as_list(user_ids, "the users")
        return np.array([self._catalogue.user(user_id) for user_id in wanted], dtype=np.int64)

    def _histories(self, given: Iterable[Any]) -> Histories:
        """Histories as callers name their items, looked up; an error says which one it is."""
        known = []
        for number, history in enumerate(given):
            items = as_list(history, f"history {number}")
            if not items:
                raise InputError(f"history {number} is empty", remedy="name at least one item")
            known.append(self._catalogue.known_all(items, f"history {number}, "))
        return Histories.of_lists(known, self.n_items)

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

    def key(self) -> str:
        """A SHA-256 of all that answers depend on: weights, catalogue, users, texts."""
        return catalogue_key(self._trained)

    def gain(self) -> float:
        """What is added to the scores of items that the history holds; 0 if nothing is."""
        gain = self._trained.system.gain() if self.seen == "gain" else None
        return 0.0 if gain is None else float(gain.detach())

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The weights by name, and all settings of the run but its paths, for an export."""
        weights = self._trained.system.state_dict()
        settings = self._trained.settings.model_dump(
            mode="json", exclude={"data", "datasets", "pretrained"}
        )
        arrays = {
            name: value.detach().cpu().contiguous().numpy() for name, value in weights.items()
        }
        return arrays, settings

    def vector_scorer(self) -> VectorScorer:
        """What ranks the catalogue by vectors, for an export.

        Raises:
            InputError: the system does not rank by vectors.
        """
        return self._many.by_vectors(self._scorer)

    def check_vectors_alone(self) -> None:
        """Refuse where scores have a term beside the vectors, for an export.

        Raises:
            InputError: they also count which items the same users took.
        """
        check_vectors_alone(self._trained)

    def text_encoder(self) -> EncoderIdentity | None:
        """The text encoder for new items; None if the system knows its catalogue's items only."""
        if not self.abilities.new_titles:
            return None
        return self.dataset.feature_set(self._trained.encoder).encoder

    # Vectors.

    def item_vectors(self) -> Vectors:
        """Every item of the catalogue as scores multiply it, float32 [items, d], with its id.

        Raises:
            InputError: the system does not rank by vectors.
        """
        items = self.vector_scorer().items
        return Vectors(tuple(self._catalogue.item_ids), items.detach().float().cpu().numpy())

    def check_new(self, item: NewTitle) -> None:
        """Refuse a new item that the system can't read.

        Raises:
            InputError: the system knows its catalogue's items only, or the encoder can't be had.
        """
        self._vectors.check_new(item.title)

    @torch.inference_mode()
    def encode_items(self, titles: Iterable[str]) -> Vectors:
        """Items that the catalogue doesn't hold, by their titles, as scores multiply them.

        Args:
            titles: any texts, at least one; each is encoded by itself.

        Raises:
            InputError: no title, or an empty one; the system does not rank by vectors or knows its
                catalogue's items only; or the encoder can't be had.
        """
        wanted = [NewTitle(title) for title in as_list(titles, "the titles")]
        named = self._catalogue.known_all(wanted, "")
        self.vector_scorer()
        inputs = self._vectors.new_inputs(named)
        if inputs is None:
            raise InputError("there are no titles", remedy="name at least one")
        vectors = self._trained.system.candidates(inputs)
        ids = tuple(item.title for item in wanted)
        return Vectors(ids, vectors.float().cpu().numpy())

    def user_interests(self, user_ids: Iterable[str] | None = None) -> Vectors:
        """Interest vectors of users of the data, from their whole histories, user by user.

        The score of an item is the largest inner product of its vector with one of the user's,
        plus the learned gain where the rule is the gain and the history holds the item, plus what
        :mod:`miracle_core.systems.cooccurrence` adds where the run has it.

        Args:
            user_ids: the users; None for all.

        Raises:
            InputError: no such user, one without items, or the system does not rank by vectors.
        """
        users = self._users_of(user_ids)
        ids = tuple(self.dataset.users["user_id"].gather(users))
        return self._encoded(Histories.of_users(self.dataset, users), ids)

    def encode_histories(self, histories: Sequence[Sequence[Given]]) -> Vectors:
        """Interest vectors of histories, as :meth:`recommend` takes them.

        The id of a history is its place, from 0.

        Raises:
            InputError: an empty history, no such item, or the system does not rank by vectors.
        """
        given = as_list(histories, "the histories")
        return self._encoded(self._histories(given), tuple(map(str, range(len(given)))))

    def _encoded(self, histories: Histories, ids: tuple[str, ...]) -> Vectors:
        found = self._many.interests(self._scorer, histories)
        owners = tuple(ids[place] for place in found.histories)
        return Vectors(owners, found.vectors, found.interests, found.strengths)

    def user_history(self, user_id: str, split: Split | None = None) -> UserHistory:
        """A user of the data set.

        Args:
            user_id: the id.
            split: ``test`` or ``valid`` holds out the item to be predicted in that part, and all
                that came after it; None holds out nothing. If the user has no such item (the
                history is too short, or with a temporal split ends earlier), nothing is held out,
                and the history is what lies before that part.

        Raises:
            InputError: no such user, or the split ``train``, which holds nothing out.
        """
        if split == "train":
            raise InputError("the training split holds no item out", remedy="choose valid or test")
        user = self._catalogue.user(user_id)
        items = self.dataset.sequence(user).tolist()
        if split is None:
            return UserHistory(user, user_id, tuple(items), None)
        valid, test = (self.dataset.cuts[user] - self.dataset.offsets[user]).tolist()
        end, following = (test, len(items)) if split == "test" else (valid, test)
        held_out = items[end] if 0 < end < following else None
        return UserHistory(user, user_id, tuple(items[:end]), held_out)

    # Capsules.

    def label(self, capsule: int) -> str:
        """A capsule's words.

        The first call passes the catalogue through the model, unless the run folder holds the
        labels of an earlier one.

        Raises:
            InputError: no such capsule.
        """
        place = check_index(capsule, "capsule", self.n_capsules)
        kept = self._kept_labels
        if kept is None:
            return self._map.summaries[place].label
        if kept.labels is None:
            kept.keep([summary.label for summary in self._map.summaries])
        assert kept.labels is not None
        return kept.labels[place]

    def capsules(self) -> tuple[CapsuleSummary, ...]:
        """Every capsule, in order: its label, its items, its neighbours.

        Raises:
            InputError: the system has no capsules.
        """
        return self._map.summaries

    def item_capsules(self) -> Integers:
        """The capsule that each catalogue item activates as a history of its own, int64 [items].

        Raises:
            InputError: the system has no capsules.
        """
        return self._map.capsule

    # Users.

    @torch.inference_mode()
    def capsule_use(self) -> CapsuleUse:
        """How the users' histories before the test item use the capsules; computed once.

        Raises:
            InputError: the system has no capsules.
        """
        return self._use

    @torch.inference_mode()
    def users(self) -> UserTable:
        """Every user's history length, interests and rank of the held-out item; computed once.

        Raises:
            InputError: the Dataset has no user with a held-out item.
        """
        return self._users

    def sample(self) -> list[int]:
        """:data:`SAMPLE_USERS` users, always the same, spread evenly over lengths of sequences."""
        users: list[int] = people.sample_users(self.dataset, SAMPLE_USERS).tolist()
        return users

    @torch.inference_mode()
    def activations(self, user_ids: Sequence[str] | None = None) -> Activations:
        """The paper's figure 6: which capsules the items of some users activate.

        Args:
            user_ids: the users; None takes a sample of :data:`SAMPLE_USERS`, always the same,
                spread evenly over the lengths of sequences.

        Raises:
            InputError: no such user, or the system has no capsules.
        """
        if user_ids is None:
            users = np.array(self.sample(), dtype=np.int64)
        else:
            wanted = as_list(user_ids, "the users")
            users = np.array([self._catalogue.user(u) for u in wanted], dtype=np.int64)
        return people.activations(self._capsules(), self.dataset, users)

    @cached_property
    def _use(self) -> CapsuleUse:
        return people.capsule_use(self._capsules(), self.dataset, self._progress)

    @cached_property
    def _users(self) -> UserTable:
        return people.user_table(
            self._scorer,
            self.dataset,
            self._progress,
            leave_out=self.seen == "leave-out",
            rules=self._applied,
        )

    @cached_property
    def _map(self) -> CapsuleMap:
        scorer = self._capsules()
        with torch.inference_mode():
            return CapsuleMap(
                scorer,
                scorer.items if self._vectors.directions is None else self._vectors.directions,
                self._catalogue.titles,
                self._catalogue.index.index,
                self._progress,
            )

    def _capsules(self) -> VectorScorer:
        """The scorer, if the system has capsules.

        Raises:
            InputError: it has none.
        """
        if not self.abilities.capsules or not isinstance(self._scorer, VectorScorer):
            raise InputError(
                f"{self.system.name} has no capsules",
                where=str(self.run),
                remedy="ask it for recommendations (miracle recommend)",
            )
        return self._scorer
