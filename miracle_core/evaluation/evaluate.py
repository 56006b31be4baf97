"""Evaluation by full ranking: every item of the Dataset is a candidate."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from miracle_core.data.dataset import Dataset, Examples, Split
from miracle_core.data.packed import Packed, pack, pad
from miracle_core.errors import InputError
from miracle_core.evaluation.metrics import DEFAULT_KS, UNRANKED, ranking_metrics
from miracle_core.processes import ALONE, Processes
from miracle_core.progress import SILENT, Progress, stage
from miracle_core.ranking.applied import Applied
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.order import ranks, tie_order
from miracle_core.ranking.seen import Seen
from miracle_core.systems.listing import RankedPart, best, ranked
from miracle_core.systems.scorer import Scorer

BATCH_USERS = 2048


@dataclass(frozen=True)
class Evaluation:
    """What full ranking found.

    Attributes:
        dataset: the Dataset's name.
        split: ``valid`` or ``test``.
        users: int64 [users], indices of the users evaluated.
        targets: int64 [users], their held-out items.
        ranks: int64 [users], the held-out items' ranks from 1; ``UNRANKED`` where the item is no
            candidate, or, under rules about lists, not in the user's longest list.
        metrics: means over the users.
        n_items: items of the catalogue.
        active: int64 [users], interests of each user that count; 1 in a system with one, and 0
            where the rules leave out all of a user's.
        capsule_users: int64 [highest capsule in use + 1], users that activate each capsule; None in
            a system without capsules.
        several: whether the system can give a user several interests.
        top_items: int64 [users, K] or None, best first.
        top_scores: float32 [users, K] or None; -inf where fewer than K candidates are left.
        seconds: how long it took.
    """

    dataset: str
    split: Split
    users: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.int64]
    metrics: dict[str, float]
    n_items: int
    active: npt.NDArray[np.int64]
    capsule_users: npt.NDArray[np.int64] | None
    several: bool
    top_items: npt.NDArray[np.int64] | None
    top_scores: npt.NDArray[np.float32] | None
    seconds: float

    def summary(self) -> dict[str, Any]:
        """The JSON contract of ``miracle evaluate``."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "users": len(self.users),
            "items": self.n_items,
            "metrics": self.metrics,
            **self._interests(),
            "seconds": self.seconds,
        }

    def _interests(self) -> dict[str, Any]:
        mean = float(self.active.mean())
        if self.capsule_users is not None:
            in_use = int((self.capsule_users > 0).sum())
            return {"active_capsules": {"mean": mean, "in_use": in_use}}
        return {"interests": {"mean": mean}} if self.several else {}

    def figures(self) -> dict[str, float]:
        """Figures besides the metrics, by name; none for a system with one interest a user."""
        mean = float(self.active.mean())
        if self.capsule_users is not None:
            in_use = int((self.capsule_users > 0).sum())
            return {"capsules_in_use": in_use, "capsules_per_user": mean}
        return {"interests_per_user": mean} if self.several else {}


def evaluate(
    scorer: Scorer,
    dataset: Dataset,
    split: Split = "test",
    *,
    ks: Sequence[int] = DEFAULT_KS,
    leave_out: bool = False,
    keep_top: int = 0,
    progress: Progress = SILENT,
    processes: Processes = ALONE,
    rules: Applied | None = None,
) -> Evaluation:
    """Rank every item of the Dataset for every evaluated user.

    Args:
        scorer: what is evaluated.
        dataset: whose users and items.
        split: ``valid`` or ``test``.
        ks: cut-offs of the metrics.
        leave_out: leave the items of a user's whole history out of the candidates (the paper does
            not). A held-out item that the user had before is then never found.
        keep_top: how many best items of each user are kept.
        progress: shows the users done.
        processes: each ranks for a share of the users; all return the whole result.
        rules: the rules for lists. A held-out item that is no candidate counts as a miss.
            Where a list is more than the best scores (quotas, diversity), each cut-off K is
            measured on a list of K, and a rank is the place in the longest list.

    Raises:
        InputError: the Dataset has no user in this part.
        MiracleError: a score is not finite.
    """
    started = time.perf_counter()
    examples = by_length(dataset, dataset.examples(split))
    if not len(examples):
        raise InputError(
            f"has no user to evaluate in its {split} part (split leave-one-out, it needs a user "
            "of three interactions)",
            where=str(dataset.folder),
        )
    # Users are dealt out in turn, so that all processes get histories of similar length.
    share = slice(processes.rank, None, processes.size)
    own = Examples(examples.users[share], examples.positions[share])
    listed = sorted({min(k, dataset.n_items) for k in ks}) if of_lists(rules) else []
    found = _Share(scorer, dataset, own, listed, min(keep_top, dataset.n_items), leave_out, rules)
    with torch.inference_mode(), stage(progress, f"ranking ({split})", len(own), "users"):
        for batch, starts, ends in _batches(dataset, own):
            found.rank(batch, starts, ends)
            progress.advance(len(starts))
    joined = processes.gather_array(np.arange(len(examples))[share])
    by_list, active, targets, top_items, top_scores = (
        processes.gather_array(each)
        for each in (found.ranks, found.active, found.targets, found.top_items, found.top_scores)
    )
    places = by_list[:, -1]
    metrics = ranking_metrics(places, ks)
    for column, k in enumerate(listed):
        of_length = [each for each in ks if min(each, dataset.n_items) == k]
        metrics |= ranking_metrics(by_list[:, column], of_length)
    # One process may have seen more capsules than another.
    numbers = processes.gather_array(np.arange(len(found.capsule_users)))
    counts = processes.gather_array(found.capsule_users)
    capsule_users = np.bincount(numbers, weights=counts).astype(np.int64)
    users = examples.users[joined]
    back = np.argsort(users, kind="stable")
    return Evaluation(
        dataset=dataset.name,
        split=split,
        users=users[back],
        targets=targets[back],
        ranks=places[back],
        metrics=metrics,
        n_items=dataset.n_items,
        active=active[back],
        capsule_users=capsule_users if scorer.capsules else None,
        several=scorer.n_interests > 1,
        top_items=top_items[back] if keep_top else None,
        top_scores=top_scores[back] if keep_top else None,
        seconds=time.perf_counter() - started,
    )


class _Share:
    """Ranks for a share of the users; its arrays are in the order of their examples.

    Args:
        scorer: what is evaluated.
        dataset: whose users and items.
        examples: the share.
        listed: the lengths of lists that ranks are places in; empty where they are ranks in the
            whole catalogue.
        keep_top: how many best items of each user are kept.
        leave_out: leave the items of whole histories out of the candidates.
        rules: the rules for lists.

    Attributes:
        targets: int64 [users], their held-out items.
        ranks: int64 [users, lists], of the held-out items; one column without ``listed``.
        active: int64 [users], interests of each user that count.
        capsule_users: int64 [highest interest so far + 1], users that have each interest.
        top_items: int64 [users, keep_top].
        top_scores: float32 [users, keep_top].
    """

    def __init__(
        self,
        scorer: Scorer,
        dataset: Dataset,
        examples: Examples,
        listed: Sequence[int],
        keep_top: int,
        leave_out: bool,
        rules: Applied | None,
    ) -> None:
        self._scorer, self._dataset, self._listed = scorer, dataset, listed
        self._leave_out, self._rules = leave_out, rules
        n = len(examples)
        self.targets = np.asarray(dataset.sequences[examples.positions], dtype=np.int64)
        self.ranks = np.full((n, max(len(listed), 1)), UNRANKED, dtype=np.int64)
        # Without rules every user has an interest.
        self.active = np.full(n, 1 if rules is None else 0, dtype=np.int64)
        self.capsule_users = np.zeros(1, dtype=np.int64)
        self.top_items = np.zeros((n, keep_top), dtype=np.int64)
        self.top_scores = np.full((n, keep_top), -np.inf, dtype=np.float32)

    def rank(
        self, batch: slice, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> None:
        """Rank for some of the users.

        Args:
            batch: which of them.
            starts: int64 [batch], where their histories begin.
            ends: int64 [batch], where they end.
        """
        packed = _packed(self._scorer, self._dataset, starts, ends)
        order = packed.order.numpy()
        seen = None
        if self._leave_out:
            seen = Seen.left_out(self._dataset.sequences, starts[order], ends[order])
        answer = ranked(self._scorer, packed, leave_out=seen, rules=self._rules)
        if answer.interests is not None:
            interests = answer.interests
            users = interests.users if answer.histories is None else answer.histories
            who = batch.start + order[users.cpu().numpy()]
            self.active[who] = interests.counts().cpu().numpy()
            self.capsule_users = _adding(self.capsule_users, interests)
        for part in answer.parts:
            who = batch.start + order[part.histories.cpu().numpy()]
            if answer.interests is None:
                self.active[who] = 1
            self._keep(part, who)

    def _keep(self, part: RankedPart, who: npt.NDArray[np.int64]) -> None:
        """Keep the ranks and best items of the users ``who``."""
        scores, rules = part.scores, self._rules
        targets = torch.from_numpy(self.targets[who]).to(scores.device)
        ties = tie_order(self._dataset.n_items).to(scores.device)
        for column, k in enumerate(self._listed):
            self.ranks[who, column] = _places(*best(part, k, ties, rules), targets)
        if not self._listed:
            found = ranks(scores, targets, ties)
            if self._leave_out or rules is not None:
                found[torch.isneginf(scores.gather(1, targets.unsqueeze(1)).squeeze(1))] = UNRANKED
            self.ranks[who, 0] = found.cpu().numpy()
        if keep_top := self.top_items.shape[1]:
            best_scores, items = best(part, keep_top, ties, rules)
            self.top_items[who] = items.cpu().numpy()
            self.top_scores[who] = best_scores.float().cpu().numpy()


def of_lists(rules: Applied | None) -> bool:
    """Whether rules make lists in another way than by the best scores."""
    return rules is not None and rules.rules.of_lists


def _places(scores: Tensor, items: Tensor, targets: Tensor) -> npt.NDArray[np.int64]:
    """The place of each user's target in a list, from 1, int64 [users]; ``UNRANKED`` for none."""
    hit = (items == targets.unsqueeze(1)) & torch.isfinite(scores)
    places = torch.where(hit.any(1), hit.to(torch.uint8).argmax(1) + 1, UNRANKED)
    return places.cpu().numpy()


def by_length(dataset: Dataset, examples: Examples) -> Examples:
    """The same examples with the shortest histories first, so that batches hold few lengths."""
    lengths = examples.positions - dataset.offsets[examples.users]
    order = np.argsort(lengths, kind="stable")
    return Examples(examples.users[order], examples.positions[order])


def _packed(
    scorer: Scorer, dataset: Dataset, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> Packed:
    """A batch of histories, padded or packed as is best for the scorer."""
    if scorer.padded and scorer.max_length is not None:
        return pad(dataset.sequences, starts, ends, scorer.max_length)
    return pack(dataset.sequences, starts, ends, scorer.max_length)


def _batches(
    dataset: Dataset, examples: Examples
) -> Iterator[tuple[slice, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    for start in range(0, len(examples), BATCH_USERS):
        batch = slice(start, min(start + BATCH_USERS, len(examples)))
        users = examples.users[batch]
        yield batch, np.asarray(dataset.offsets[users]), examples.positions[batch]


def _adding(counts: npt.NDArray[np.int64], interests: Interests) -> npt.NDArray[np.int64]:
    """How many users have each interest, int64 [interests], with those of a batch added."""
    used = np.bincount(interests.used().cpu().numpy(), minlength=len(counts))
    used[: len(counts)] += counts
    return used


def joint_figures(found: Sequence[Evaluation]) -> dict[str, float]:
    """The figures of several Datasets together: a capsule is in use if it is in any."""
    if not found[0].several:
        return {}
    mean = float(np.mean([each.active.mean() for each in found]))
    if found[0].capsule_users is None:
        return {"interests_per_user": mean}
    width = max(len(each.capsule_users) for each in found if each.capsule_users is not None)
    used = np.zeros(width, dtype=bool)
    for each in found:
        if each.capsule_users is not None:
            used[: len(each.capsule_users)] |= each.capsule_users > 0
    return {"capsules_in_use": int(used.sum()), "capsules_per_user": mean}
