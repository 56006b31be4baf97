"""Items that the same users took: a term of the score beside the interests.

Vectors of a few hundred numbers forget most single pairs of items. Counts don't. With this term the
score of item v for a user u is

    max_j <u_j, x_v> + w sqrt(sum_i g^(age of i) sim(i, v))

where i goes through the items of the history that are read, each counted once, at its newest place;
the newest item has age 0. sim is the similarity of ItemKNN, counted in the training part
(:mod:`miracle_core.systems.itemknn.similarities`). The root keeps several weak neighbours from
outweighing an interest. w and g are settings.

Nothing of this is learned by gradients, and the training loss does not have the term: in training
each user's own pairs are among the counts, so the term would give the target away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from miracle_core.config.sections import CooccurrenceSettings
from miracle_core.data.packed import Packed
from miracle_core.ranking.interests import Interests
from miracle_core.systems.itemknn.similarities import nearest, sound, training_matrix

if TYPE_CHECKING:
    from miracle_core.data.dataset import Dataset


class Cooccurrence(nn.Module):
    """Which items of a catalogue share users.

    Args:
        settings: weight, neighbours, shrinkage and decay.
        n_items: size of the catalogue.
        temperature: of the system's scores; the weight is in this unit.

    Attributes:
        starts: int64 [items + 1], where each item's neighbours begin.
        items: int64 [pairs], the neighbours.
        similarities: float32 [pairs].
    """

    data_sized: ClassVar[tuple[str, ...]] = ("items", "similarities")

    def __init__(self, settings: CooccurrenceSettings, n_items: int, temperature: float) -> None:
        super().__init__()
        self.settings = settings
        self.weight = settings.weight * temperature
        self.starts: Tensor
        self.items: Tensor
        self.similarities: Tensor
        self.register_buffer("starts", torch.zeros(n_items + 1, dtype=torch.int64))
        self.register_buffer("items", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("similarities", torch.zeros(0))

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.starts) - 1

    def fit(self, dataset: Dataset) -> None:
        """Count the training part."""
        s = self.settings
        found = nearest(training_matrix(dataset), s.neighbours, s.shrink)
        device = self.starts.device
        self.starts = torch.from_numpy(found.indptr.astype(np.int64)).to(device)
        self.items = torch.from_numpy(found.indices.astype(np.int64)).to(device)
        self.similarities = torch.from_numpy(found.data.astype(np.float32)).to(device)

    def check(self) -> None:
        """Refuse buffers that are no similarities.

        Raises:
            ValueError: rows that don't fit, an item outside the catalogue, or a bad number.
        """
        if not sound(self.starts, self.items, self.similarities):
            raise ValueError("its co-occurrence is no matrix of similarities")

    def of_histories(self, interests: Interests, packed: Packed) -> Near:
        """What items share users with those of packed histories.

        Args:
            interests: of the histories; users are places in ``interests.users``.
            packed: the histories. Items beyond the catalogue, which are new, have no neighbours.
        """
        history = packed.history_of_token()
        ages = packed.lengths()[history] - 1 - packed.places()
        # The newest place of each item of a history. Padding repeats a newer item.
        key = history * (int(packed.items.max()) + 1) + packed.items
        order = key.argsort(stable=True)
        last = torch.ones_like(key, dtype=torch.bool)
        last[:-1] = key[order].diff() != 0
        tokens = order[last]
        tokens = tokens[packed.items[tokens] < self.n_items]
        users = interests.places()[history[tokens]]
        weights = self.settings.decay ** ages[tokens].to(self.similarities.dtype)
        return Near(self, users, packed.items[tokens], weights)

    def of_history(self, history: Sequence[int]) -> Near:
        """The same of one history of catalogue items, oldest first; -1 is a new item."""
        newest = {item: len(history) - 1 - place for place, item in enumerate(history) if item >= 0}
        device = self.starts.device
        items = torch.tensor(list(newest), dtype=torch.int64, device=device)
        ages = torch.tensor(list(newest.values()), device=device)
        weights = self.settings.decay ** ages.to(self.similarities.dtype)
        return Near(self, torch.zeros_like(items), items, weights)


@dataclass(frozen=True)
class Near:
    """What the scores of users gain; see :class:`Cooccurrence`.

    Attributes:
        counts: what shares users.
        users: int64 [taken], places of users.
        items: int64 [taken], what each took, no (user, item) twice.
        weights: [taken], by age.
    """

    counts: Cooccurrence
    users: Tensor
    items: Tensor
    weights: Tensor

    def among(self, users: slice) -> Near:
        """The same of some users, who are then counted from 0."""
        inside = (self.users >= users.start) & (self.users < users.stop)
        return replace(
            self,
            users=self.users[inside] - users.start,
            items=self.items[inside],
            weights=self.weights[inside],
        )

    def gains(self, n_users: int) -> Tensor:
        """What the score of each item gains, [users, items]."""
        counts, n_items = self.counts, self.counts.n_items
        starts = counts.starts[self.items]
        lengths = counts.starts[self.items + 1] - starts
        taken = torch.repeat_interleave(lengths)
        within = torch.arange(len(taken), device=taken.device)
        pair = within - (lengths.cumsum(0) - lengths - starts)[taken]
        cell = self.users[taken] * n_items + counts.items[pair]
        sums = self.weights.new_zeros(n_users * n_items)
        sums.index_add_(0, cell, self.weights[taken] * counts.similarities[pair])
        return sums.sqrt_().mul_(counts.weight).view(n_users, n_items)

    def add_to(self, scores: Tensor) -> None:
        """Add the gains to scores of the whole catalogue, [users, items], in place."""
        scores += self.gains(len(scores)).to(scores.dtype)
