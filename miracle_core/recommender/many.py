"""Lists, interests and vectors for many histories at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from miracle_core.config import SeenRule
from miracle_core.data.packed import Packed, pack
from miracle_core.errors import InputError
from miracle_core.progress import SILENT, Progress
from miracle_core.ranking.applied import Applied
from miracle_core.ranking.seen import Seen
from miracle_core.recommender.histories import Histories
from miracle_core.recommender.item_vectors import ItemVectors
from miracle_core.recommender.lists import RankedLists, UserInterests
from miracle_core.runs.opening import TrainedRun
from miracle_core.systems.listing import lists
from miracle_core.systems.scorer import Scorer, VectorScorer

BATCH = 2048


class ManyHistories:
    """Answers a run's questions about many histories; one batch of scores is in memory at a time.

    Args:
        run: the run, on its device.
        vectors: of new items.
        ties: int64 [items], the order of items with equal scores.
    """

    def __init__(self, run: TrainedRun, vectors: ItemVectors, ties: Tensor) -> None:
        self._run, self._vectors, self._ties = run, vectors, ties

    @torch.inference_mode()
    def ranked(
        self,
        scorer: Scorer,
        histories: Histories,
        top_k: int,
        rule: SeenRule,
        progress: Progress = SILENT,
        rules: Applied | None = None,
    ) -> RankedLists:
        """The K best items of every history, and the interest that won each.

        Args:
            scorer: what ranks, with or without the gain as ``rule`` says.
            histories: any number of them.
            top_k: how many items.
            rule: what becomes of items that a history holds.
            progress: is advanced by the number of histories done; the caller has started it.
            rules: the rules for the lists.

        Raises:
            InputError: a history has new items, and they can't be encoded.
        """
        k = min(top_k, len(self._ties))
        items = np.full((len(histories), k), -1, dtype=np.int64)
        interests = np.full_like(items, -1)
        scores = np.full(items.shape, -np.inf, dtype=np.float32)
        new = self._new_inputs(histories)
        for part in histories.batches(BATCH):
            packed = self._packed(scorer, histories, part)
            order = packed.order.numpy()
            leave_out = None
            if rule == "leave-out":
                leave_out = Seen.left_out(
                    *histories.known_pairs(part, order), device=self._ties.device
                )
            for found in lists(
                scorer, packed, k, self._ties, leave_out=leave_out, new=new, rules=rules
            ):
                rows = part.start + order[found.histories.cpu().numpy()]
                items[rows] = found.items.cpu().numpy()
                scores[rows] = found.scores.float().cpu().numpy()
                interests[rows] = found.interests.cpu().numpy()
            progress.advance(part.stop - part.start)
        none = np.isneginf(scores)
        items[none] = interests[none] = -1
        return RankedLists(items, scores, interests)

    @torch.inference_mode()
    def interests(self, scorer: Scorer, histories: Histories) -> UserInterests:
        """Every history's interest vectors.

        Raises:
            InputError: the system does not rank by vectors, or new items can't be encoded.
        """
        by_vectors = self.by_vectors(scorer)
        new = self._new_inputs(histories)
        found: list[tuple[np.ndarray, ...]] = []
        for part in histories.batches(BATCH):
            packed = self._packed(by_vectors, histories, part)
            made = by_vectors.interests(packed, new)
            who = torch.repeat_interleave(made.users, made.counts()).cpu().numpy()
            owners = part.start + packed.order.numpy()[who]
            which = made.which.cpu().numpy()
            order = np.lexsort((which, owners))
            numbers = (made.vectors.float().cpu().numpy(), made.strengths().float().cpu().numpy())
            found.append(tuple(each[order] for each in (*numbers, which, owners)))
        vectors, strengths, which, owners = map(np.concatenate, zip(*found, strict=True))
        return UserInterests(vectors, which, owners, strengths)

    def by_vectors(self, scorer: Scorer) -> VectorScorer:
        """The scorer, if the system ranks by vectors.

        Raises:
            InputError: it does not.
        """
        if not isinstance(scorer, VectorScorer):
            raise InputError(
                f"{self._run.spec.name} does not rank by vectors, so it has none to give",
                where=str(self._run.folder.path),
                remedy="ask it for recommendations, or take a system that ranks by vectors",
            )
        return scorer

    @staticmethod
    def _packed(scorer: Scorer, histories: Histories, part: slice) -> Packed:
        starts, ends = histories.starts[part], histories.ends[part]
        return pack(histories.items, starts, ends, scorer.max_length)

    def _new_inputs(self, histories: Histories) -> Tensor | None:
        return self._vectors.new_inputs(histories.new) if histories.new else None
