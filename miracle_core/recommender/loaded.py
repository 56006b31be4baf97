"""A trained run, loaded: its scorer, and the lookup of ids and titles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch

from miracle_core.config import SeenRule
from miracle_core.data.dataset import Dataset
from miracle_core.errors import MiracleError
from miracle_core.evaluation.evaluate_run import seen_rule
from miracle_core.index.key import catalogue_key
from miracle_core.index.vectors import catalogue_vectors
from miracle_core.progress import SILENT, Progress
from miracle_core.ranking.applied import Applied
from miracle_core.ranking.order import tie_order
from miracle_core.ranking.rules import Rules
from miracle_core.recommender.catalogue import Catalogue
from miracle_core.recommender.given import check_index
from miracle_core.recommender.item_vectors import ItemVectors
from miracle_core.recommender.kept_labels import KeptLabels
from miracle_core.recommender.new_titles import NewTitles
from miracle_core.recommender.results import (
    Abilities,
    Match,
)
from miracle_core.registry import SystemSpec
from miracle_core.runs.opening import TrainedRun, load_run
from miracle_core.runs.records import Weights
from miracle_core.systems.scorer import Scorer

if TYPE_CHECKING:
    from miracle_core.text import TextEncoder


class LoadedRun:
    """A trained run, loaded; the base of the ``Recommender``.

    The catalogue's item vectors are computed once, in the constructor. What needs a pass over the
    catalogue (labels) or over all users is computed when first asked for, and kept.

    Attributes:
        run: the run folder.
        dataset: the Dataset whose catalogue and users these are.
        mode: ``transductive`` or ``inductive``.
        weights: ``best`` or ``last``, which of the run's two kept states this is.
        epoch: how many epochs the weights were trained for, or None if the file doesn't say.
        system: which system it is.
        seen: what becomes of items that a history holds.
        rules: the rules for every list.
        abilities: what can be asked of it.

    Args:
        run: the trained run.
        device: where the model runs.
        seen: what becomes of items that a history holds; None takes the rule that the run was
            trained by.
        progress: shows the longer computations.
        encoder: the run's text encoder, if it is one of your own.
        rules: the rules for every list, unless a question brings its own.

    Raises:
        InputError: a seen rule that the run can't rank by, rules that it can't follow, or an
            ``encoder`` that is not the run's.
        MiracleError: the model gives item vectors that are not finite.
    """

    def __init__(
        self,
        run: TrainedRun,
        *,
        device: torch.device | str = "cpu",
        seen: SeenRule | None = None,
        progress: Progress = SILENT,
        encoder: TextEncoder | None = None,
        rules: Rules | None = None,
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
        self.rules: Rules = Rules() if rules is None else rules
        self._applied = run.applied(rules, self._scorer)
        self._ties = tie_order(self.dataset.n_items).to(device)
        self._catalogue = Catalogue(run.dataset)
        titles = None
        if run.encoder is not None and "inductive" in run.spec.modes:
            titles = NewTitles(run.dataset.feature_set(run.encoder), progress, encoder)
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
        # The last weights change with every epoch, and another device may round otherwise.
        keeps = self._scorer.capsules and run.weights_from == "best" and str(device) == "cpu"
        self._kept_labels = (
            KeptLabels(self.run, catalogue_key(run), self._scorer.n_interests) if keeps else None
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
        encoder: TextEncoder | None = None,
        rules: Rules | None = None,
    ) -> Self:
        """Load a run folder.

        Args:
            run: the folder.
            data: a Dataset whose catalogue and users are read; None takes the run's own. A
                pre-trained run has none of its own.
            device: where the model runs.
            seen: what becomes of items that a history holds; None takes the rule that the run was
                trained by.
            progress: shows the longer computations.
            weights: ``best`` for those of the epoch with the best validation, ``last`` for those of
                the newest checkpoint (other epochs aren't kept); None takes the best, or the last
                where there has been no validation yet.
            encoder: the object that encoded the Dataset, if it is an encoder of your own: new
                titles need it. Others are found by their name.
            rules: the rules for every list (:class:`miracle_core.ranking.rules.Rules`), unless a
                question brings its own.

        Raises:
            InputError: no run folder, no such weights in it yet, a damaged one, a Dataset that the
                run can't read, a seen rule that it can't rank by, or rules that it can't follow.
            MiracleError: the training diverged.
        """
        other = None if data is None else Dataset.open(data)
        found = load_run(run, other, weights=weights)
        return cls(found, device=device, seen=seen, progress=progress, encoder=encoder, rules=rules)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should hear of the rules, such as ids that the catalogue doesn't hold."""
        return () if self._applied is None else self._applied.notes

    def _rules(self, rules: Rules | None) -> Applied | None:
        """The rules of a question, looked up; None takes :attr:`rules`."""
        return self._applied if rules is None else self._trained.applied(rules, self._scorer)

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

        The items with this title (apart from case, spaces and accents), else the item with this id,
        else items with nearly this title, else something new. Of items with equal titles the more
        popular come first.

        Args:
            query: a title, or an id.
            limit: how many matches at most, the best first; there is always one.

        Raises:
            InputError: it is not text, or is empty.
        """
        return self._catalogue.match(query, limit)

    def complete(self, typed: str, limit: int = 8) -> list[int]:
        """Items whose title a person may be typing, the likeliest first.

        Fast enough for every keystroke. The first call builds an index of the titles (2 s for
        100,000).

        Args:
            typed: what has been typed so far.
            limit: how many items at most.
        """
        return self._catalogue.index.complete(typed, limit)
