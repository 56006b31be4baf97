"""What a trained run says of all its data: its capsules, and the users that activate them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from miracle_core.data.dataset import Split
from miracle_core.errors import InputError
from miracle_core.recommender import people
from miracle_core.recommender.capsule_map import CapsuleMap
from miracle_core.recommender.given import as_list, check_index
from miracle_core.recommender.loaded import LoadedRun
from miracle_core.recommender.results import (
    Activations,
    CapsuleSummary,
    CapsuleUse,
    Integers,
    UserHistory,
    UserTable,
)
from miracle_core.systems.scorer import VectorScorer

SAMPLE_USERS = 12


class Overview(LoadedRun):
    """The part of the ``Recommender`` that looks at all capsules, and at all users."""

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
