"""Approximate search: one index over the catalogue, one query an active interest.

An item that is among a user's K best (eq. 17) is among the K best of the interest that wins it,
since every item above it there is above it for the user, too. So the K best of all interests
together contain the user's K best. Their scores are then computed exactly, over all interests. Only
the set of candidates is approximate.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from miracle_core.errors import InputError
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.loss import chunks_of_users
from miracle_core.ranking.order import tie_order
from miracle_core.ranking.walk import best_items

# Below so many items every vector is compared; docs/approximate-search.md has the measurements.
FLAT_BELOW = 20_000
# Clustering: how many vectors of each list it samples, and its iterations. faiss's own defaults
# (256 and 25) take 14 times as long for the same recall.
_POINTS_PER_LIST, _ROUNDS = 40, 10
# Scores this near, of the largest, may be equal but for rounding.
_ROUNDING = 1e-6


def faiss_library() -> Any:
    """The module ``faiss``, on as many threads as torch.

    Raises:
        InputError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise InputError(
            "approximate search needs faiss, which is not installed",
            remedy="install it with: pip install faiss-cpu (in a checkout, make install does), or "
            "search exactly (without --index)",
        ) from error
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss


def kind_for(n_items: int) -> str:
    """The index that suits a catalogue, as ``faiss.index_factory`` spells it.

    ``Flat`` compares all vectors. ``IVF<lists>,Flat`` compares only those in the lists with the
    nearest centres, uncompressed.
    """
    if n_items < FLAT_BELOW:
        return "Flat"
    return f"IVF{round(4 * math.sqrt(n_items))},Flat"


@dataclass(frozen=True)
class Found:
    """Candidates for a user's best items.

    Attributes:
        items: int64 [candidates], rising.
        floor: the least score from which on an item's place among ``items`` is its rank among all:
            the highest of the interests' K-th best scores. No item of the top-K is below it.
    """

    items: Tensor
    floor: float

    def adding(self, items: Collection[int]) -> Found:
        """The same candidates and some more items."""
        more = torch.tensor(sorted(items), dtype=torch.int64, device=self.items.device)
        return Found(torch.cat((self.items, more)).unique(), self.floor)


class Index:
    """An index over item vectors by their inner product.

    Args:
        faiss_index: over the candidates of eq. 17, in catalogue order.
        probes: how many lists a query searches; 0 for an index without lists.
    """

    def __init__(self, faiss_index: Any, probes: int = 0) -> None:
        self.faiss_index = faiss_index
        self.probes = probes

    @property
    def n_items(self) -> int:
        """Items in the index."""
        return int(self.faiss_index.ntotal)

    @property
    def lists(self) -> int:
        """Lists of the index; 0 for one that compares everything."""
        return int(getattr(self.faiss_index, "nlist", 0))

    def nearest(self, vectors: Tensor, k: int) -> npt.NDArray[np.int64]:
        """The (about) K best items of each interest, and more where others tie with the K-th.

        faiss doesn't say which of equal items it takes, and the ties have an order of their own.

        Args:
            vectors: float32 [interests, d].
            k: at most the number of items.

        Returns:
            int64 [interests, K or more].
        """
        queries = np.ascontiguousarray(vectors.detach().cpu().numpy(), dtype=np.float32)
        width = min(k + 1, self.n_items)
        while True:
            scores, items = self._full(queries, width)
            near = _ROUNDING * np.abs(scores).max(1)
            if (scores[:, -1] < scores[:, k - 1] - near).all():
                return items[:, :-1]
            if width == self.n_items:
                return items
            width = min(2 * width, self.n_items)

    def _full(
        self, queries: npt.NDArray[np.float32], k: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Scores and items of a search, [queries, K].

        While the searched lists hold fewer items, the number of searched lists is doubled.
        """
        scores, items = self._search(queries, k, self.probes)
        probes = self.probes
        while (short := np.flatnonzero((items < 0).any(1))).size and probes < self.lists:
            probes = min(2 * probes, self.lists)
            scores[short], items[short] = self._search(queries[short], k, probes)
        return scores, items

    def _search(
        self, queries: npt.NDArray[np.float32], k: int, probes: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        faiss = faiss_library()
        parameters = faiss.SearchParametersIVF(nprobe=probes) if self.lists else None
        scores, items = self.faiss_index.search(queries, k, params=parameters)
        return scores, items

    def find(self, user: Tensor, candidates: Tensor, k: int) -> Found:
        """Candidates for one user's K best items.

        Args:
            user: [interests, d], the user's active interests.
            candidates: [items, d], the vectors that are in the index.
            k: how many are wanted; all items where there are fewer.
        """
        if k >= self.n_items:
            return Found(torch.arange(self.n_items, device=candidates.device), -math.inf)
        nearest = torch.from_numpy(self.nearest(user, k)).to(candidates.device)
        scores = torch.bmm(candidates[nearest], user.unsqueeze(2))
        return Found(nearest.unique(), float(scores.amin((1, 2)).max()))

    def best_items(self, interests: Interests, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The (about) K best items of every user; see ``walk.best_items`` for the exact ones.

        Args:
            interests: the users' active interests.
            candidates: [items, d], the vectors that are in the index.
            k: how many, at most the number of items.

        Returns:
            Exact scores [users, K] and items int64 [users, K], in the order of ``interests.users``.
        """
        ties = tie_order(self.n_items).to(candidates.device)
        nearest = torch.from_numpy(self.nearest(interests.vectors, k)).to(candidates.device)
        all_scores, all_items = [], []
        for rows, users, groups in chunks_of_users(interests.groups, 1):  # a user at a time
            items = nearest[rows].unique()
            alone = Interests(
                interests.vectors[rows], interests.which[rows], interests.users[users], groups
            )
            scores, places = best_items(alone, candidates[items], k, ties=ties[items])
            all_scores.append(scores)
            all_items.append(items[places])
        return torch.cat(all_scores), torch.cat(all_items)


def build(candidates: Tensor, kind: str) -> Index:
    """An index of a kind over item vectors; if it has lists, ``probes`` begins at 1.

    Args:
        candidates: float32 [items, d], as eq. 17 multiplies them.
        kind: from :func:`kind_for`.

    Raises:
        InputError: faiss is not installed.
    """
    faiss = faiss_library()
    vectors = np.ascontiguousarray(candidates.detach().cpu().numpy(), dtype=np.float32)
    index = faiss.index_factory(vectors.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    if kind != "Flat":
        index.cp.niter, index.cp.max_points_per_centroid = _ROUNDS, _POINTS_PER_LIST
        index.cp.min_points_per_centroid = 1  # silences a warning that could not be acted on
        index.train(vectors)
    index.add(vectors)
    return Index(index, 0 if kind == "Flat" else 1)
