"""The users of the Dataset: which capsules they activate, and how their held-out items rank."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from miracle_core.data.dataset import Dataset
from miracle_core.data.packed import pack
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.evaluation.metrics import UNRANKED
from miracle_core.progress import SILENT, Progress, stage
from miracle_core.ranking.applied import Applied
from miracle_core.recommender.capsule_map import capsules_of
from miracle_core.recommender.results import Activations, CapsuleUse, UserTable
from miracle_core.systems.scorer import Scorer, VectorScorer

BATCH_USERS = 2048


def history_ends(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Where each user's history before the test part ends, as a position, int64 [users].

    A user without a test item keeps all that lies before the test part: with leave-one-out that is
    everything, with a temporal split it may be nothing.
    """
    return np.asarray(dataset.cuts[:, 1])


def capsule_use(scorer: VectorScorer, dataset: Dataset, progress: Progress = SILENT) -> CapsuleUse:
    """Which capsules the users' histories before the test item activate."""
    capsules = scorer.n_interests
    users = np.zeros(capsules, dtype=np.int64)
    items = np.zeros(capsules, dtype=np.int64)
    sizes = np.zeros(capsules + 1, dtype=np.int64)
    starts, ends = dataset.offsets[:-1], history_ends(dataset)
    with stage(progress, "capsules of the users", dataset.n_users, "users"):
        for counts in _counts(scorer, dataset, starts, ends):
            users += (counts > 0).sum(0)
            items += counts.sum(0)
            sizes += np.bincount((counts > 0).sum(1), minlength=capsules + 1)
            progress.advance(len(counts))
    return CapsuleUse(
        users=users / max(dataset.n_users, 1),
        items=items / max(int(items.sum()), 1),
        mean=float(sizes @ np.arange(capsules + 1) / max(int(sizes.sum()), 1)),
        histogram={size: int(n) for size, n in enumerate(sizes) if n},
    )


def activations(
    scorer: VectorScorer, dataset: Dataset, users: npt.NDArray[np.int64]
) -> Activations:
    """Figure 6 for some users, with their whole sequences (the newest N items)."""
    starts, ends = dataset.offsets[users], dataset.offsets[users + 1]
    counts = np.zeros((len(users), scorer.n_interests), dtype=np.int64)
    done = 0
    for part in _counts(scorer, dataset, starts, ends):
        counts[done : done + len(part)] = part
        done += len(part)
    ids = dataset.users["user_id"]
    return Activations(
        users=tuple(users.tolist()),
        user_ids=tuple(ids[int(user)] for user in users),
        lengths=np.minimum(ends - starts, scorer.max_length or ends - starts),
        counts=counts,
    )


def user_table(
    scorer: Scorer,
    dataset: Dataset,
    progress: Progress = SILENT,
    *,
    leave_out: bool = False,
    rules: Applied | None = None,
) -> UserTable:
    """Every user's history length, interests and rank of the held-out test item."""
    found = evaluate(scorer, dataset, "test", leave_out=leave_out, progress=progress, rules=rules)
    active, held_out, ranks = (np.full(dataset.n_users, fill) for fill in (0, -1, 0))
    active[found.users] = found.active
    held_out[found.users] = found.targets
    ranks[found.users] = np.where(found.ranks == UNRANKED, 0, found.ranks)
    return UserTable(
        lengths=history_ends(dataset) - dataset.offsets[:-1],
        active=active,
        held_out=held_out,
        ranks=ranks,
    )


def sample_users(dataset: Dataset, count: int) -> npt.NDArray[np.int64]:
    """Users spread evenly over the lengths of sequences, the shortest first; always the same."""
    lengths = np.diff(dataset.offsets)
    having = np.flatnonzero(lengths > 0)
    order = having[np.argsort(lengths[having], kind="stable")]
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(np.int64)
    return np.asarray(order[places], dtype=np.int64)


def _counts(
    scorer: VectorScorer,
    dataset: Dataset,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> Iterator[npt.NDArray[np.int64]]:
    """How many items of each history activate each capsule, int64 [batch, C], batch by batch.

    An empty history activates none.
    """
    capsules = scorer.n_interests
    for begin in range(0, len(starts), BATCH_USERS):
        batch = slice(begin, begin + BATCH_USERS)
        first, last = np.asarray(starts[batch]), np.asarray(ends[batch])
        filled = np.flatnonzero(last > first)
        counts = torch.zeros(len(first), capsules, dtype=torch.int64)
        if len(filled):
            packed = pack(dataset.sequences, first[filled], last[filled], scorer.max_length)
            on_device = packed.to(scorer.inputs.device)
            near = capsules_of(scorer).affinities(scorer.inputs[on_device.items], on_device)
            row = torch.from_numpy(filled)[packed.order][packed.history_of_token()]
            activated = near.argmax(-1).cpu()
            counts.index_put_((row, activated), torch.ones_like(row), accumulate=True)
        yield counts.numpy()
