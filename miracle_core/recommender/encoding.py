"""What a trained run computes as vectors: items, histories and users, for other programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from miracle_core.data.dataset import EncoderIdentity
from miracle_core.errors import InputError
from miracle_core.index.key import catalogue_key
from miracle_core.index.store import check_vectors_alone
from miracle_core.recommender.given import Given, NewTitle, as_list
from miracle_core.recommender.histories import Histories
from miracle_core.recommender.lists import Vectors
from miracle_core.recommender.loaded import LoadedRun
from miracle_core.recommender.many import ManyHistories
from miracle_core.recommender.results import Integers
from miracle_core.systems.scorer import VectorScorer


class Encoding(LoadedRun):
    """A trained run as an encoder: the part of the ``Recommender`` that gives vectors."""

    @cached_property
    def _many(self) -> ManyHistories:
        """Answers questions about many histories at once."""
        return ManyHistories(self._trained, self._vectors, self._ties)

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

    def key(self) -> str:
        """A SHA-256 of all that answers depend on: weights, catalogue, users, texts."""
        return catalogue_key(self._trained)

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
