"""A reference for the shop rules, one item and one user at a time, from their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np


def competing(
    n_items: int,
    ids: list[str],
    has: dict[str, list[set[str]]],
    allow: set[str] | None,
    deny: set[str],
    where: dict[str, set[str]],
    had: set[int],
) -> set[int]:
    """The items that may be recommended."""
    found = set()
    for item in range(n_items):
        good = allow is None or ids[item] in allow
        good = good and ids[item] not in deny and item not in had
        for attribute, values in where.items():
            good = good and bool(has[attribute][item] & values)
        if good:
            found.add(item)
    return found


def ordered(items: set[int], score: dict[int, float], ties: list[int]) -> list[int]:
    """Items by falling score; ties are in the order of ``ties``."""
    return sorted(items, key=lambda item: (-score[item], ties[item]))


def differing(
    items: list[int], score: dict[int, float], k: int, weight: float, labels: list[object]
) -> list[int]:
    """Choose one item at a time by its score plus a gain per chosen item with another label."""
    chosen: list[int] = []
    while items and len(chosen) < k:
        worth = [score[i] + weight * sum(labels[i] != labels[j] for j in chosen) for i in items]
        chosen.append(items.pop(worth.index(max(worth))))
    return chosen


def relevant(
    items: list[int], score: dict[int, float], k: int, weight: float, directions: np.ndarray
) -> list[int]:
    """Choose one item at a time by its score minus a loss for the most similar chosen item."""
    chosen: list[int] = []
    while items and len(chosen) < k:
        near = [
            max((float(directions[i] @ directions[j]) for j in chosen), default=0.0) for i in items
        ]
        worth = [(1 - weight) * score[i] - weight * n for i, n in zip(items, near, strict=True)]
        chosen.append(items.pop(worth.index(max(worth))))
    return chosen


def listed(
    vectors: np.ndarray,
    catalogue: np.ndarray,
    counting: list[bool],
    boosts: list[float],
    candidates: set[int],
    quota: int,
    k: int,
    ties: list[int],
    choose: Callable[[list[int], dict[int, float], int], list[int]] | None = None,
) -> tuple[list[int], dict[int, float], dict[int, int]]:
    """One user's list: the items, their scores, and the index of the interest that won each.

    If ``choose`` is given, it picks the list from the candidates in the order of their scores.
    """
    each = vectors.astype(np.float64) @ catalogue.astype(np.float64).T
    each += np.array(boosts)[:, np.newaxis]
    score, winner = {}, {}
    for item in range(len(catalogue)):
        best = -math.inf
        for place in range(len(vectors)):
            if counting[place] and each[place, item] > best:
                best, winner[item] = each[place, item], place
        score[item] = best
    if not any(counting):
        return [], score, winner
    if choose is not None:
        return choose(ordered(candidates, score, ties), score, k), score, winner
    chosen: list[int] = []
    own = {
        place: ordered({item for item in candidates if winner[item] == place}, score, ties)
        for place in range(len(vectors))
        if counting[place]
    }
    having = [place for place in own if own[place]]
    having.sort(key=lambda place: -score[own[place][0]])
    for turn in range(quota):
        for place in having:
            if turn < len(own[place]) and len(chosen) < k:
                chosen.append(own[place][turn])
    for item in ordered(candidates - set(chosen), score, ties):
        if len(chosen) < k:
            chosen.append(item)
    return ordered(set(chosen), score, ties), score, winner
