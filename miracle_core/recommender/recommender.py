"""A trained run as something to ask: histories in; interests, capsules and recommendations out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from miracle_core.config import SeenRule
from miracle_core.data.dataset import Dataset, Split
from miracle_core.errors import InputError, MiracleError
from miracle_core.evaluation.evaluate_run import seen_rule
from miracle_core.index.vectors import catalogue_vectors
from miracle_core.progress import SILENT, Progress
from miracle_core.ranking.order import tie_order
from miracle_core.recommender import people
from miracle_core.recommender.answers import Answers
from miracle_core.recommender.capsule_map import CapsuleMap
from miracle_core.recommender.catalogue import Catalogue
from miracle_core.recommender.given import Given, as_list, check_index
from miracle_core.recommender.item_vectors import ItemVectors
from miracle_core.recommender.new_titles import NewTitles
from miracle_core.recommender.results import (
    Abilities,
    Activations,
    CapsuleSummary,
    CapsuleUse,
    Integers,
    Match,
    Neighbour,
    Recommendation,
    UserHistory,
    UserTable,
)
from miracle_core.registry import SystemSpec
from miracle_core.runs.opening import TrainedRun, load_run
from miracle_core.runs.records import Weights
from miracle_core.systems.scorer import Scorer, VectorScorer

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
        system: which system it is.
        seen: what becomes of items that a history holds.
        abilities: what can be asked of it.

    Args:
        run: the trained run.
        device: where the model runs.
        seen: another rule than the one that the run was trained by.
        progress: hears of the longer computations.
    """

    def __init__(
        self,
        run: TrainedRun,
        *,
        device: torch.device | str = "cpu",
        seen: SeenRule | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self.run: Path = run.folder.path
        self.dataset: Dataset = run.dataset
        self.mode = run.settings.train.mode
        self.weights: Weights = run.weights_from
        self.epoch: int | None = run.epoch
        self.system: SystemSpec = run.spec
        self.seen: SeenRule = seen_rule(run, seen)
        self._trained = run = run.on(device)
        self._progress = progress
        inputs = catalogue_vectors(run)
        gain = self.seen != "as-printed"
        self._scorer: Scorer = run.system.scorer(run.items, gain=gain, inputs=inputs)
        if inputs is not None and not torch.isfinite(inputs).all():
            raise MiracleError(
                "the model gives item vectors that are not finite: its training diverged",
                where=str(run.folder.path),
                remedy="train again with a lower learning rate",
            )
        self._ties = tie_order(self.dataset.n_items).to(device)
        self._catalogue = Catalogue(run.dataset)
        titles = None
        if run.encoder is not None and "inductive" in run.spec.modes:
            titles = NewTitles(run.dataset.feature_set(run.encoder), progress)
        self._vectors = ItemVectors(run, self._scorer, titles, self._ties)
        neighbours: Literal["text", "vectors"] | None = None
        if run.items.text is not None:
            neighbours = "text"
        elif self._vectors.directions is not None:
            neighbours = "vectors"
        self.abilities = Abilities(
            capsules=self._scorer.capsules,
            interests=self._scorer.n_interests > 1,
            new_titles=titles is not None,
            neighbours=neighbours,
        )
        self._answers = Answers(
            run,
            self._scorer,
            self._catalogue,
            self._vectors,
            self._ties,
            self.abilities,
            self.label,
        )

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        data: str | Path | None = None,
        device: torch.device | str = "cpu",
        seen: SeenRule | None = None,
        progress: Progress = SILENT,
        weights: Weights | None = None,
    ) -> Recommender:
        """Load a run folder.

        Args:
            run: the folder.
            data: a Dataset whose catalogue and users are read; None takes the run's own, which a
                pre-trained run has not.
            device: where the model runs.
            seen: what becomes of items that a history holds; None takes the rule that the run was
                trained by.
            progress: hears of the longer computations.
            weights: ``best`` for those of the epoch with the best validation, ``last`` for those of
                the newest checkpoint (other epochs aren't kept); None takes the best, or the last
                where there has been no validation yet.

        Raises:
            InputError: no run folder, no such weights in it yet, a damaged one, a Dataset that the
                run can't read, or a seen rule that it can't rank by.
            MiracleError: the training diverged.
        """
        other = None if data is None else Dataset.open(data)
        found = load_run(run, other, weights=weights)
        return cls(found, device=device, seen=seen, progress=progress)

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
        """C; 0 for a system without capsules."""
        return self._scorer.n_interests if self.abilities.capsules else 0

    @property
    def max_length(self) -> int | None:
        """N, how many of a history's newest items are read; None for all."""
        return self._scorer.max_length

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
        """Catalogue items that are nearest: by text, or by item vectors where none is read.

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
        seen: SeenRule | None = None,
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
            seen: what becomes of items that the history holds; None takes :attr:`seen`.
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
        rule = self.seen if seen is None else seen
        return self._answers.recommend(history, top_k, rule, target, approximate, of_each)

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
            InputError: no such user.
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
            self._scorer, self.dataset, self._progress, leave_out=self.seen == "leave-out"
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
        """The scorer, of a system with capsules.

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
