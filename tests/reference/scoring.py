"""Eq. 16, 17 and 23: scores, and the losses of the next item."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.reference.basics import log_sum_exp

if TYPE_CHECKING:
    from tests.reference.parameters import Array


def eq17_score(u: dict[int, Array], x: Array) -> float:
    """The best inner product of an item with any active interest of the user."""
    return max(float(interest @ x) for interest in u.values())


def eq17_winner(u: dict[int, Array], x: Array) -> int:
    """The active capsule that gives eq. 17 its score; in a tie, the lowest number."""
    return min(u, key=lambda j: (-float(u[j] @ x), j))


def score(u: dict[int, Array], x: Array, item: int, history: list[int], gain: float) -> float:
    """Eq. 17, plus the gain of items in the history (our addition to the paper)."""
    return eq17_score(u, x) + (gain if item in history else 0.0)


def eq16_in_batch(
    users: list[dict[int, Array]],
    targets: list[int],
    xs: list[Array],
    histories: list[list[int]] | None = None,
    gain: float = 0.0,
    frequencies: dict[int, float] | None = None,
) -> float:
    """The sum over users of -log softmax among the targets of the batch.

    Another user's target is a negative unless it is the same item. `xs[i]` is target i's vector.
    `frequencies` are the probabilities of items to be drawn as targets; a negative then counts
    as often as it is expected in a batch (logQ; our addition to the paper).
    """
    had = [[] for _ in users] if histories is None else histories
    total = 0.0
    for i, u in enumerate(users):
        own = score(u, xs[i], targets[i], had[i], gain)
        rivals = [
            score(u, xs[j], targets[j], had[i], gain)
            - (math.log(len(users) * frequencies[targets[j]]) if frequencies else 0.0)
            for j in range(len(users))
            if targets[j] != targets[i]
        ]
        total += log_sum_exp([own, *rivals]) - own
    return total


def eq23_full(
    users: list[dict[int, Array]],
    targets: list[int],
    catalogue: list[Array],
    histories: list[list[int]] | None = None,
    gain: float = 0.0,
) -> float:
    """The mean over users of -log softmax of the target among all items."""
    had = [[] for _ in users] if histories is None else histories
    total = 0.0
    for u, target, history in zip(users, targets, had, strict=True):
        scores = [score(u, x, item, history, gain) for item, x in enumerate(catalogue)]
        total += log_sum_exp(scores) - scores[target]
    return total / len(users)
