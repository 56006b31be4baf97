"""Item-based nearest neighbours (Sarwar et al. 2001; shrinkage as in Bell and Koren 2007).

Two items are similar if the same users took them in the training part:

    sim(i, j) = |U_i and U_j| / (sqrt(|U_i| |U_j|) + shrink),   sim(i, i) = 0

Each item keeps its most similar ones. An item's score for a history is the sum of its similarities
to the history's items, each counted once, over the whole history, however long. Both are sparse:
neither items x items nor users x items is ever held.

Differences from the papers: interactions are binary (there are no ratings), and a neighbourhood is
the K most similar items of each item of the history, not of each candidate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sparse
import torch
from torch import Tensor

from miracle_core.data.packed import Packed
from miracle_core.ranking.seen import Seen
from miracle_core.ranking.walk import CHUNK_ELEMENTS
from miracle_core.systems.base import ItemSide, Sizes, System
from miracle_core.systems.explanation import Explanation, Routing
from miracle_core.systems.itemknn.settings import ItemKnnSettings
from miracle_core.systems.itemknn.similarities import Matrix, nearest, sound, training_matrix
from miracle_core.systems.scorer import Scorer, Scores

if TYPE_CHECKING:
    from miracle_core.config import Settings
    from miracle_core.data.dataset import Dataset


class ItemKnn(System):
    """Similarities of items, in compressed rows.

    Attributes:
        starts: int64 [items + 1], where each item's neighbours begin.
        neighbours: int64 [pairs], catalogue items, rising within an item's.
        similarities: float32 [pairs].
    """

    by_vectors: ClassVar[bool] = False
    data_sized: ClassVar[tuple[str, ...]] = ("neighbours", "similarities")

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__()
        own = settings.model
        if not isinstance(own, ItemKnnSettings) or sizes.items is None:
            raise ValueError("ItemKnn needs its own settings and a catalogue")
        self.settings = own
        self.starts: Tensor
        self.neighbours: Tensor
        self.similarities: Tensor
        self.register_buffer("starts", torch.zeros(sizes.items + 1, dtype=torch.int64))
        self.register_buffer("neighbours", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("similarities", torch.zeros(0))

    def fit(self, dataset: Dataset, seed: int) -> None:
        """Count which items share users in the training part."""
        taken = training_matrix(dataset)
        found = nearest(taken, self.settings.neighbours, self.settings.shrink)
        self.starts = torch.from_numpy(found.indptr.astype(np.int64))
        self.neighbours = torch.from_numpy(found.indices.astype(np.int64))
        self.similarities = torch.from_numpy(found.data.astype(np.float32))

    def check(self) -> None:
        """Refuse buffers that are no matrix of similarities.

        Raises:
            ValueError: rows that don't fit together, an item outside the catalogue, or a number
                that is below 0 or not finite.
        """
        if not sound(self.starts, self.neighbours, self.similarities):
            raise ValueError("its rows are no matrix of similarities")

    def matrix(self) -> Matrix:
        """The similarities, [items, items]: the row of an item holds its neighbours."""
        n_items = len(self.starts) - 1
        parts = (self.similarities, self.neighbours, self.starts)
        data, columns, starts = (part.cpu().numpy() for part in parts)
        return sparse.csr_array((data, columns, starts), shape=(n_items, n_items))

    def scorer(self, items: ItemSide, *, gain: bool = True, inputs: Tensor | None = None) -> Scorer:
        """Sums of similarities."""
        return NeighbourScorer(self.matrix(), self.starts.device)


class NeighbourScorer:
    """Ranks by sums of similarities; see ``miracle_core.systems.scorer.Scorer``.

    Args:
        similarities: [items, items], the row of an item holds its neighbours.
        device: where scores go.
    """

    max_length: int | None = None
    n_interests = 1
    padded = False
    capsules = False

    def __init__(self, similarities: Matrix, device: torch.device) -> None:
        self._similarities, self._device = similarities, device

    def scores(self, packed: Packed, leave_out: Seen | None = None) -> Scores:
        """Scores of all items, for a batch of histories."""
        return Scores(None, self._chunks(packed, leave_out))

    def _chunks(self, packed: Packed, leave_out: Seen | None) -> Iterator[tuple[Tensor, Tensor]]:
        n_items = self._similarities.shape[0]
        history, items = packed.history_of_token().cpu().numpy(), packed.items.cpu().numpy()
        had = sparse.csr_array(
            (np.ones(len(items), dtype=np.float32), (history, items)),
            shape=(packed.n_histories, n_items),
        )
        had.data[:] = 1.0
        size = max(CHUNK_ELEMENTS // n_items, 1)
        for start in range(0, packed.n_histories, size):
            part = slice(start, min(start + size, packed.n_histories))
            dense: npt.NDArray[np.float32] = (had[part] @ self._similarities).toarray()
            scores = torch.from_numpy(dense).to(self._device)
            if leave_out is not None:
                leave_out.among(part).add_to(scores)
            yield torch.arange(part.start, part.stop), scores

    def explain(self, history: Sequence[int], new: Tensor | None = None) -> Explanation:
        """One history's scores: each item adds its similarity. ``new`` items are not supported."""
        # An item counts once, at its newest place.
        newest = {item: place for place, item in enumerate(history)}
        counts = [newest[item] == place for place, item in enumerate(history)]
        once = sparse.diags_array(np.asarray(counts, dtype=np.float32), format="csr")
        parts = once @ self._similarities[np.asarray(history, dtype=np.int64)]
        return NeighbourExplanation(parts, self._device)


@dataclass(frozen=True)
class NeighbourExplanation:
    """What each history item adds; see ``miracle_core.systems.explanation.Explanation``.

    Histories may be of any length, so the contributions stay sparse.

    Attributes:
        parts: float32 [n, items], sparse.
        device: where answers are put.
    """

    parts: Matrix
    device: torch.device
    which: tuple[int, ...] = (0,)
    strengths: tuple[float, ...] = (1.0,)
    activated: tuple[int, ...] | None = None
    vectors: Tensor | None = None
    routing: Routing | None = None
    additive = True

    def each(self, rows: Tensor | None = None) -> Tensor:
        """The score of items, [1, items]."""
        scores = torch.from_numpy(np.asarray(self.parts.sum(0)))[None].to(self.device)
        return scores if rows is None else scores[:, rows]

    def contributions(self, rows: Tensor, winners: Tensor) -> Tensor:
        """The similarity of each history item to some items, [n, items]."""
        found: npt.NDArray[np.float32] = self.parts[:, rows.cpu().numpy()].toarray()
        return torch.from_numpy(found).to(self.device)
