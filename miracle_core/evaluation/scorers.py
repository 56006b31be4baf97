"""What is evaluated: anything that gives items vectors and users interests (eq. 17 scores them)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.dataset import Dataset
from miracle_core.data.packed import Packed
from miracle_core.model.capsules import CapsuleOutput, Interests
from miracle_core.model.miracle import Miracle
from miracle_core.model.repeats import Repeats


class Scorer(Protocol):
    """Scores all items for histories as the max over a user's interests."""

    max_length: int

    def items(self) -> Tensor:
        """The catalogue, [items, d]; the same each time."""

    def interests(self, packed: Packed) -> Interests:
        """The interests of a batch of histories."""

    def repeats(self, interests: Interests, packed: Packed) -> Repeats | None:
        """What scores gain where a history holds the item, if they do."""


class MiracleScorer:
    """A trained model over one catalogue; the catalogue's vectors are computed once.

    Args:
        model: the model; it is put into evaluation mode.
        text: [items, d_b], the catalogue's scaled text vectors (``Miracle.scaled_text``).
        inputs: [items, d], what ``model.catalogue(text)`` gives, where it is at hand already.
    """

    def __init__(self, model: Miracle, text: Tensor, inputs: Tensor | None = None) -> None:
        self.model = model.eval()
        self.max_length = model.settings.max_length
        with torch.inference_mode():
            self._inputs = model.catalogue(text) if inputs is None else inputs
            self._candidates = model.candidates(self._inputs)

    @property
    def inputs(self) -> Tensor:
        """The catalogue's item vectors as a history's tokens take them, [items, d]."""
        return self._inputs

    def items(self) -> Tensor:
        """Candidates of eq. 17, [items, d]."""
        return self._candidates

    def interests(self, packed: Packed) -> Interests:
        """Interests of a batch of histories."""
        packed = packed.to(self._inputs.device)
        with torch.inference_mode():
            output: CapsuleOutput = self.model(self._inputs[packed.items], packed)
            return output.interests.replace_vectors(self.model.user_vectors(output))

    def repeats(self, interests: Interests, packed: Packed) -> Repeats | None:
        """What scores gain where a history holds the item; None without ``model.repeat``."""
        return self.model.repeats(interests, packed.to(self._inputs.device))


class TextSimilarity:
    """What the text encoder knows by itself: an item is as good as its text is near to one had.

    Each item of a history is an interest, and eq. 17 takes the cosine of their texts. Items that
    the history holds come last, since every one is nearest to itself.

    Args:
        text: [items, d_b], the catalogue's text vectors.
        max_length: the newest items of a history that count.
    """

    # Two cosines are at most 2 apart.
    GAIN = -3.0

    def __init__(self, text: Tensor, max_length: int) -> None:
        self.max_length = max_length
        self._items = F.normalize(text, dim=-1)

    def items(self) -> Tensor:
        """The directions of the text vectors, [items, d_b]."""
        return self._items

    def interests(self, packed: Packed) -> Interests:
        """Every item of a history."""
        packed = packed.to(self._items.device)
        return Interests(
            self._items[packed.items],
            torch.zeros_like(packed.items),
            torch.arange(packed.n_histories, device=self._items.device),
            packed.groups,
        )

    def repeats(self, interests: Interests, packed: Packed) -> Repeats | None:
        """Items of the history lose more than any cosine gains."""
        gain = self._items.new_tensor(self.GAIN)
        return Repeats.of(interests, packed.to(self._items.device), gain)


class ConstantInterest:
    """Scores items the same for every user: popularity, chance.

    Args:
        scores: float [items].
    """

    max_length = 1

    def __init__(self, scores: Tensor) -> None:
        self._items = scores.unsqueeze(1)

    def items(self) -> Tensor:
        """The scores as one-dimensional vectors, [items, 1]."""
        return self._items

    def interests(self, packed: Packed) -> Interests:
        """One interest of 1 for everybody."""
        n = packed.n_histories
        return Interests(
            torch.ones(n, 1, dtype=self._items.dtype),
            torch.zeros(n, dtype=torch.int64),
            torch.arange(n),
            ((1, n),),
        )

    def repeats(self, interests: Interests, packed: Packed) -> Repeats | None:
        """Nothing: the histories don't count."""
        return None


def popularity(dataset: Dataset) -> ConstantInterest:
    """How often each item occurs in the training part."""
    return ConstantInterest(torch.from_numpy(dataset.training_counts()).double())


def chance(dataset: Dataset, seed: int = 0) -> ConstantInterest:
    """A random order of the catalogue, the same for every user."""
    order = np.random.default_rng(seed).permutation(dataset.n_items)
    return ConstantInterest(torch.from_numpy(order).double())
