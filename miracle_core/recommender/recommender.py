"""A trained run as something to ask: histories in; interests, capsules and recommendations out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from miracle_core.data.dataset import Dataset, Split
from miracle_core.errors import InputError, MiracleError
from miracle_core.evaluation.scorers import MiracleScorer
from miracle_core.index.search import Index
from miracle_core.index.store import open_index
from miracle_core.index.vectors import catalogue_vectors
from miracle_core.model import retrieval
from miracle_core.progress import SILENT, Progress
from miracle_core.recommender import people
from miracle_core.recommender.capsule_map import CapsuleMap
from miracle_core.recommender.catalogue import Catalogue
from miracle_core.recommender.given import Given, Known, NewTitle, as_list, check_index
from miracle_core.recommender.item_vectors import ItemVectors
from miracle_core.recommender.new_titles import NewTitles
from miracle_core.recommender.ranking import Ranking
from miracle_core.recommender.results import (
    Activations,
    ActiveCapsule,
    CapsuleSummary,
    CapsuleUse,
    HistoryItem,
    Integers,
    Match,
    Neighbour,
    Recommendation,
    UserHistory,
    UserTable,
)
from miracle_core.recommender.routing import route
from miracle_core.training.run_folder import TrainedRun, Weights, load_run

SAMPLE_USERS = 12


class Recommender:
    """A trained run, loaded to answer.

    The catalogue's item vectors are computed once, when it is made. What needs a pass over the
    catalogue (labels) or over all users is computed when first asked for and kept.

    Attributes:
        run: the run folder.
        dataset: the Dataset whose catalogue and users these are.
        mode: ``transductive`` or ``inductive``.
        weights: ``best`` or ``last``, which of the run's two kept states this is.
        epoch: how many epochs it had behind it, or None if the file doesn't say.

    Args:
        run: the trained run.
        device: where the model runs.
        progress: hears of the longer computations.
    """

    def __init__(
        self,
        run: TrainedRun,
        *,
        device: torch.device | str = "cpu",
        progress: Progress = SILENT,
    ) -> None:
        self.run: Path = run.folder.path
        self.dataset: Dataset = run.dataset
        self.mode = run.settings.train.mode
        self.weights: Weights = run.weights_from
        self.epoch: int | None = run.epoch
        self._trained = run
        self._progress = progress
        self._model = run.model.to(device)
        text = run.text.to(device)
        self._scorer = MiracleScorer(self._model, text, catalogue_vectors(run, text))
        if not torch.isfinite(self._scorer.inputs).all():
            raise MiracleError(
                "the model gives item vectors that are not finite: its training diverged",
                where=str(run.folder.path),
                remedy="train again with a lower learning rate",
            )
        self._ties = retrieval.tie_order(self.dataset.n_items).to(device)
        self._catalogue = Catalogue(run.dataset)
        features = run.dataset.feature_set(run.settings.encoder or None)
        self._vectors = ItemVectors(
            self._model, self._scorer.inputs, text, NewTitles(features, progress), self._ties
        )

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        device: torch.device | str = "cpu",
        progress: Progress = SILENT,
        weights: Weights | None = None,
    ) -> Recommender:
        """Load a run folder.

        Args:
            run: the folder.
            device: where the model runs.
            progress: hears of the longer computations.
            weights: ``best`` for those of the epoch with the best validation, ``last`` for those of
                the newest checkpoint (other epochs aren't kept); None takes the best, or the last
                where there has been no validation yet.

        Raises:
            InputError: no run folder, no such weights in it yet, or a damaged one.
            MiracleError: the training diverged.
        """
        return cls(load_run(run, weights=weights), device=device, progress=progress)

    @property
    def n_items(self) -> int:
        """Items in the catalogue."""
        return self.dataset.n_items

    @property
    def n_users(self) -> int:
        """Users of the data set."""
        return self.dataset.n_users

    @property
    def n_capsules(self) -> int:
        """C."""
        return self._model.settings.capsules

    @property
    def max_length(self) -> int:
        """N, how many of a history's newest items the model reads."""
        return self._model.settings.max_length

    # Names in and out.

    def title(self, item: int | np.integer[Any]) -> str:
        """An item's title."""
        return self._catalogue.titles[self._catalogue.check(item)]

    def item_id(self, item: int | np.integer[Any]) -> str:
        """An item's id."""
        return self._catalogue.item_ids[self._catalogue.check(item)]

    def text(self, item: int | np.integer[Any]) -> str:
        """The text that an item's vector is made of."""
        return str(self.dataset.items["text"][self._catalogue.check(item)])

    def item(self, item_id: str) -> int:
        """The index of an item's id.

        Raises:
            InputError: it is not text, or there is none; the nearest known id is named.
        """
        return self._catalogue.item(item_id)

    def user(self, user_id: str) -> int:
        """The index of a user's id.

        Raises:
            InputError: it is not text, or there is none; the nearest known id is named.
        """
        return self._catalogue.user(user_id)

    def user_id(self, user: int | np.integer[Any]) -> str:
        """A user's id."""
        return self._catalogue.user_ids[check_index(user, "user", self.n_users)]

    def match(self, query: str, limit: int = 1) -> list[Match]:
        """What a typed text means.

        An item whose title it is (but for case, spaces and accents), else whose id it is, else
        whose title it nearly is, else something new. Of items with equal titles the more popular
        come first.

        Args:
            query: a title, or an id.
            limit: how many matches at most, the best first; there is always one.

        Raises:
            InputError: it is not text, or is empty.
        """
        return self._catalogue.match(query, limit)

    def complete(self, typed: str, limit: int = 8) -> list[int]:
        """Items whose title a person may be typing, the likeliest first; made for every keystroke.

        The first call builds an index of the titles (2 s for 100,000).
        """
        return self._catalogue.index.complete(typed, limit)

    @torch.inference_mode()
    def nearest(self, item: Given, limit: int = 5) -> list[Neighbour]:
        """Catalogue items whose text is nearest.

        Args:
            item: a catalogue item by its index or :class:`ItemId` (it is left out itself), or a
                :class:`NewTitle`.
            limit: how many at most.

        Raises:
            InputError: no such item, plain text, or the encoder for new titles can't be had.
        """
        return self._vectors.nearest(self._catalogue.known(item), limit)

    # Histories.

    @torch.inference_mode()
    def recommend(
        self,
        history: Iterable[Given],
        top_k: int = 10,
        exclude_seen: bool = False,
        target: int | np.integer[Any] | None = None,
        approximate: bool = False,
        of_each: int | None = None,
    ) -> Recommendation:
        """Interests of a history, and the items they lead to (eq. 5-17).

        Args:
            history: oldest first. An integer is the index of a catalogue item, an :class:`ItemId`
                its id; a :class:`NewTitle` is an item that the catalogue doesn't hold, encoded on
                the spot. A plain ``str`` is refused: it doesn't say which of the two it is
                (``match(text)[0].given`` looks it up). The newest :attr:`max_length` items are
                read. A new item of a transductive run has no embedding of its own and enters with
                its text's vector alone.
            top_k: how many items to recommend, at most as many as there are.
            exclude_seen: leave the history's own items out of the candidates.
            target: a catalogue item to rank besides, such as the one held out.
            approximate: look for items with the run's index (``miracle index``), not among all. An
                interest's best are then those whose rank is certain. Scores are exact all the same.
            of_each: how many of the items that an interest won are named for each; None takes
                ``top_k``.

        Raises:
            InputError: an empty history or title, no such item, an item of another type, a
                ``top_k`` or ``of_each`` below 1, or the encoder for new titles can't be had; with
                ``approximate``, a target, or no fitting index.
        """
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
        given = [self._place(place, item) for place, item in enumerate(history, start=1)]
        first = max(len(given) - self.max_length, 0)
        routed = route(self._model, self._vectors.of(given[first:]), first)
        had = {item for item in given[first:] if isinstance(item, int)}
        seen = {item for item in given if isinstance(item, int)} if exclude_seen else set()
        items = self._scorer.items()
        # Items of the history may be pushed down or left out, or pulled up.
        found = (
            self._index.find(routed.user, items, top_k + len(had | seen)).adding(had)
            if approximate
            else None
        )
        ranking = Ranking(
            routed, items, self._ties, had, self._model.repeat_gain(), seen, self._catalogue, found
        )
        capsules = [None] * first + list(routed.activated)
        return Recommendation(
            history=tuple(map(self._history_item, given, capsules)),
            capsules=tuple(
                ActiveCapsule(
                    capsule=capsule,
                    strength=strength,
                    label=self.label(capsule),
                    items=tuple(place for place, own in enumerate(capsules) if own == capsule),
                    best=best,
                )
                for capsule, strength, best in zip(
                    routed.capsules,
                    routed.strengths,
                    ranking.of_each_interest(of_each),
                    strict=True,
                )
            ),
            items=ranking.top(top_k),
            target=None if target is None else ranking.of(target),
            trace=routed.trace,
        )

    def user_history(self, user_id: str, split: Split | None = None) -> UserHistory:
        """A user of the data set.

        Args:
            user_id: the id.
            split: ``test`` or ``valid`` holds out the item that the data's split predicts there,
                and all that came after it; None nothing. Where there is no such item (a history
                that is too short, or in a temporal split one that ends earlier) nothing is held
                out, and the history is what lies before that part of the split.

        Raises:
            InputError: no such user, or a split that holds nothing out.
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
        """A capsule's words; the first call passes the catalogue through the model."""
        return self._map.summaries[check_index(capsule, "capsule", self.n_capsules)].label

    def capsules(self) -> tuple[CapsuleSummary, ...]:
        """Every capsule, in order: its label, its items, its neighbours."""
        return self._map.summaries

    def item_capsules(self) -> Integers:
        """The capsule that each catalogue item activates as a history of its own, int64 [items]."""
        return self._map.capsule

    # Users.

    @torch.inference_mode()
    def capsule_use(self) -> CapsuleUse:
        """How the users' histories before the test item use the capsules; kept."""
        return self._use

    @torch.inference_mode()
    def users(self) -> UserTable:
        """Every user's length, active capsules and rank of the held-out item; kept.

        Raises:
            InputError: the data set has no user with a held-out item.
        """
        return self._users

    @torch.inference_mode()
    def activations(self, user_ids: Sequence[str] | None = None) -> Activations:
        """The paper's figure 6: which capsules the items of some users activate.

        Args:
            user_ids: the users; None takes a sample of :data:`SAMPLE_USERS`, always the same,
                spread evenly over the lengths of sequences.

        Raises:
            InputError: no such user.
        """
        if user_ids is None:
            users = people.sample_users(self.dataset, SAMPLE_USERS)
        else:
            wanted = as_list(user_ids, "the users")
            users = np.array([self._catalogue.user(u) for u in wanted], dtype=np.int64)
        return people.activations(self._scorer, self.dataset, users)

    @cached_property
    def _index(self) -> Index:
        return open_index(self._trained)[0]

    @cached_property
    def _use(self) -> CapsuleUse:
        return people.capsule_use(self._scorer, self.dataset, self._progress)

    @cached_property
    def _users(self) -> UserTable:
        return people.user_table(self._scorer, self.dataset, self._progress)

    @cached_property
    def _map(self) -> CapsuleMap:
        with torch.inference_mode():
            return CapsuleMap(
                self._model,
                self._scorer.inputs,
                self._vectors.text_directions,
                self._catalogue.titles,
                self._catalogue.index.index,
                self._progress,
            )

    def _place(self, place: int, item: Given) -> Known:
        """An item of a history, looked up; an error says which one it is, counted from 1."""
        try:
            return self._catalogue.known(item)
        except InputError as error:
            where = f"item {place} of the history"
            raise InputError(error.what, where=where, remedy=error.remedy) from error

    def _history_item(self, item: Known, capsule: int | None) -> HistoryItem:
        if isinstance(item, NewTitle):
            return HistoryItem(None, None, item.title, capsule)
        return HistoryItem(item, self.item_id(item), self.title(item), capsule)
