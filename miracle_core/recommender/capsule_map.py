"""What each capsule stands for: the catalogue's items, each as a history of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from miracle_core.data.packed import pack
from miracle_core.progress import SILENT, Progress, stage
from miracle_core.recommender.labels import characteristic_words, shortened, spelling
from miracle_core.recommender.results import CapsuleSummary, Integers
from miracle_core.recommender.word_index import WordIndex
from miracle_core.systems.base import HasCapsules
from miracle_core.systems.scorer import VectorScorer

BATCH_ITEMS = 4096
# Characteristic items and neighbouring capsules kept of each capsule.
ITEMS = 10
NEIGHBOURS = 5


class CapsuleMap:
    """The capsule that each catalogue item activates alone, and what follows from it.

    Args:
        scorer: of a system with capsules.
        text: [items, d_b], the directions of the items' text vectors.
        titles: the catalogue's titles.
        index: the words in them.
        progress: shows the pass over the catalogue.

    Attributes:
        capsule: int64 [items], the capsule of each item.
        summaries: one a capsule, in order.
    """

    def __init__(
        self,
        scorer: VectorScorer,
        text: Tensor,
        titles: Sequence[str],
        index: WordIndex,
        progress: Progress = SILENT,
    ) -> None:
        self._text, self._titles, self._index = text, titles, index
        self._similarity = _similarities(scorer, progress)
        self._of_item = self._similarity.argmax(1)
        self.capsule: Integers = self._of_item.cpu().numpy()
        neighbours = _neighbours(capsules_of(scorer).capsule_vectors())
        self.summaries = tuple(
            self._summary(capsule, neighbours[capsule]) for capsule in range(len(neighbours))
        )

    def _summary(self, capsule: int, neighbours: tuple[tuple[int, float], ...]) -> CapsuleSummary:
        mine = (self._of_item == capsule).nonzero().squeeze(1)
        items = self._typical(mine) if len(mine) else self._nearest(capsule)
        members = np.zeros(len(self._titles), dtype=np.bool_)
        members[mine.cpu().numpy() if len(mine) else items] = True
        words = []
        for word in characteristic_words(self._index, members):
            having = self._index.with_word(word)
            words.append(spelling(word, self._titles[int(having[members[having]][0])]))
        return CapsuleSummary(
            capsule=capsule,
            label=" · ".join(words) or shortened(self._titles[items[0]]),
            words=tuple(words),
            n_items=len(mine),
            share=len(mine) / len(self._titles),
            items=tuple(items),
            neighbours=neighbours,
        )

    def _typical(self, mine: Tensor) -> list[int]:
        """The items whose text is nearest to the mean of a capsule's items, nearest first."""
        rows = self._text[mine]
        order = (rows @ rows.mean(0)).argsort(descending=True, stable=True)
        typical: list[int] = mine[order[:ITEMS]].tolist()
        return typical

    def _nearest(self, capsule: int) -> list[int]:
        """The items that come nearest to activating a capsule that no item activates."""
        pull = self._similarity.softmax(1)[:, capsule]
        nearest: list[int] = pull.argsort(descending=True, stable=True)[:ITEMS].tolist()
        return nearest


def capsules_of(scorer: VectorScorer) -> HasCapsules:
    """The system of a scorer, which must have capsules.

    Raises:
        ValueError: it has none.
    """
    system = scorer.system
    if not isinstance(system, HasCapsules):
        raise ValueError("the system has no capsules")
    return system


def _similarities(scorer: VectorScorer, progress: Progress) -> Tensor:
    """Similarities of every item as a history of its own (eq. 5-7), [items, C]."""
    system, x = capsules_of(scorer), scorer.inputs
    found = []
    with stage(progress, "capsules of the catalogue", len(x), "items"):
        for rows in x.split(BATCH_ITEMS):
            each = np.arange(len(rows))
            packed = pack(each, each, each + 1, scorer.max_length or 1).to(x.device)
            found.append(system.affinities(rows, packed))
            progress.advance(len(rows))
    return torch.cat(found)


def _neighbours(base: Tensor) -> list[tuple[tuple[int, float], ...]]:
    """The capsules with the most similar base vectors, with the cosines, for each capsule."""
    directions = F.normalize(base, dim=-1)
    cosines = directions @ directions.T
    cosines.fill_diagonal_(-torch.inf)
    best = cosines.sort(dim=1, descending=True, stable=True)
    count = min(NEIGHBOURS, len(base) - 1)
    return [
        tuple(zip(places[:count], values[:count], strict=True))
        for places, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
