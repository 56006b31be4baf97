"""How similar items are by the users who took them, counted in a Dataset's training part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from miracle_core.data.dataset import Dataset

# scipy.sparse.csr_array, which carries no types. It is imported where it is used: every answer of a
# recommender would wait for it otherwise, and hardly any needs it.
Matrix = Any
# Items whose similarities are computed at a time.
BLOCK_ITEMS = 4096


def sound(starts: Tensor, items: Tensor, found: Tensor) -> bool:
    """Whether compressed rows are a matrix of similarities.

    Args:
        starts: int64 [items + 1], where each item's neighbours begin.
        items: int64 [pairs], the neighbours.
        found: float32 [pairs], their similarities; none is below 0.
    """
    return (
        bool(starts[0] == 0)
        and bool(starts[-1] == len(items))
        and len(items) == len(found)
        and bool((starts.diff() >= 0).all())
        and bool(((items >= 0) & (items < len(starts) - 1)).all())
        and bool((torch.isfinite(found) & (found >= 0)).all())
    )


def training_matrix(dataset: Dataset) -> Matrix:
    """Which user took which item in the training part, float32 [users, items], ones."""
    import scipy.sparse as sparse

    starts = np.asarray(dataset.offsets[:-1])
    lengths = np.asarray(dataset.cuts[:, 0]) - starts
    users = np.repeat(np.arange(dataset.n_users), lengths)
    owners = np.repeat(np.arange(dataset.n_users), np.diff(dataset.offsets))
    inside = np.arange(dataset.n_interactions) < np.asarray(dataset.cuts[:, 0])[owners]
    items = np.asarray(dataset.sequences)[inside]
    shape = (dataset.n_users, dataset.n_items)
    taken = sparse.csr_array((np.ones(len(users), dtype=np.float32), (users, items)), shape=shape)
    taken.data[:] = 1.0  # an item that a user took twice counts once
    return taken


def nearest(taken: Matrix, neighbours: int, shrink: float) -> Matrix:
    """Each item's most similar items.

    Args:
        taken: [users, items], ones.
        neighbours: how many are kept of each item; of equal ones those with the lower index.
        shrink: added to the denominator.

    Returns:
        float32 [items, items], sparse, columns rising within a row.
    """
    import scipy.sparse as sparse

    by_item = taken.T.tocsr()
    often = np.asarray(taken.sum(0), dtype=np.float64)
    blocks = []
    for start in range(0, by_item.shape[0], BLOCK_ITEMS):
        shared = (by_item[start : start + BLOCK_ITEMS] @ taken).tocoo()
        rows, columns = shared.row + start, shared.col
        other = rows != columns
        rows, columns, both = rows[other], columns[other], shared.data[other].astype(np.float64)
        similar = both / (np.sqrt(often[rows] * often[columns]) + shrink)
        order = np.lexsort((columns, -similar, rows))
        rows, columns, similar = rows[order], columns[order], similar[order]
        first = np.searchsorted(rows, rows)
        kept = np.arange(len(rows)) - first < neighbours
        blocks.append((rows[kept], columns[kept], similar[kept]))
    rows, columns, similar = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    shape = (by_item.shape[0], by_item.shape[0])
    found = sparse.csr_array((similar.astype(np.float32), (rows, columns)), shape=shape)
    found.sort_indices()
    return found
