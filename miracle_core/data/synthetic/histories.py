"""The users of a generated shop: planted interests that drift, and what they buy one after another.

A user has 1 to 5 interests. Each has its own time in the user's history: its weight rises to a
peak, falls again, and never quite goes. At every step the user picks an interest by these weights,
then an item in it:

* more often than not the item *follows* from the last one of that interest: the same product line,
  and a role that goes with the last (a device is followed by its supplies and accessories);
* otherwise any item of the interest, by its popularity;
* now and then anything in the shop: noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from miracle_core.data.synthetic.catalogue import LINES_PER_INTEREST, Catalogue
from miracle_core.data.synthetic.stream import FloatArray, IntArray, Stream, cumulated, pick
from miracle_core.data.synthetic.vocabulary import ROLES

MIN_LENGTH, MAX_LENGTH = 5, 40
"""Interactions of a user."""

MAX_INTERESTS = 5
"""Planted interests of a user: 1 to this many."""

NOISE_SHARE = 0.06
FOLLOW_SHARE = 0.65

_COUNT_WEIGHTS = np.array([3, 5, 5, 4, 3], dtype=np.int64)  # of 1, 2, ... MAX_INTERESTS interests
_FLOOR, _HALF_WIDTH = 0.06, 0.45  # of an interest's weight over a history of length 1
_NEXT_ROLE = np.array(  # rows: the last role, then "nothing yet"; columns: the next role, cumulated
    [[0.05, 0.65, 1.0], [0.10, 0.45, 1.0], [0.15, 0.75, 1.0], [0.70, 0.90, 1.0]]
)
_SCALE = 1_000_000
_ITEM_TAIL, _INTEREST_TAIL, _LENGTH_TAIL = 3, 8, 4
_REDRAWS = 5
_START, _YEAR, _HOUR, _MONTH = 1_672_531_200, 31_536_000, 3_600, 2_592_000  # seconds

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Histories:
    """Who took what when, in time order over all users.

    Attributes:
        user: int64 [events].
        item: int64 [events].
        time: int64 [events], seconds since 1970; strictly increasing within a user.
        mix: float64 [users, 2, interests], the planted share of each interest in the first and in
            the second half of a user's history; sums to 1 over interests. Noise is not in it.
    """

    user: IntArray
    item: IntArray
    time: IntArray
    mix: FloatArray


class _Shelves:
    """Items sorted by interest, role and line, so that any of these is one stretch of a shelf."""

    def __init__(self, catalogue: Catalogue, n_interests: int, stream: Stream) -> None:
        interest, role, line = catalogue.interest, catalogue.role, catalogue.line
        self.order = np.lexsort((line, role, interest)).astype(np.int64)
        cell = (interest * len(ROLES) + role) * LINES_PER_INTEREST + line
        n_cells = n_interests * len(ROLES) * LINES_PER_INTEREST
        self._starts = cumulated(np.bincount(cell, minlength=n_cells).astype(np.int64))
        rank = np.empty(len(interest), dtype=np.int64)
        shuffled = stream.permutation(len(interest))
        for which in range(n_interests):
            members = shuffled[interest[shuffled] == which]
            rank[members] = np.arange(len(members))
        self.cumulative = cumulated(_SCALE // (rank[self.order] + _ITEM_TAIL))

    def of_interest(self, interest: IntArray) -> tuple[IntArray, IntArray]:
        width = len(ROLES) * LINES_PER_INTEREST
        return self._starts[interest * width], self._starts[(interest + 1) * width]

    def of_role(self, interest: IntArray, role: IntArray) -> tuple[IntArray, IntArray]:
        at = (interest * len(ROLES) + role) * LINES_PER_INTEREST
        return self._starts[at], self._starts[at + LINES_PER_INTEREST]

    def of_line(
        self, interest: IntArray, role: IntArray, line: IntArray
    ) -> tuple[IntArray, IntArray]:
        at = (interest * len(ROLES) + role) * LINES_PER_INTEREST + line
        return self._starts[at], self._starts[at + 1]


def draw_histories(
    catalogue: Catalogue, n_users: int, n_interests: int, stream: Stream
) -> Histories:
    """Draw the users of a shop and all they take.

    Args:
        catalogue: the shop's items.
        n_users: at least 1.
        n_interests: interests of the shop.
        stream: randomness, used up in an order that depends on the sizes only.
    """
    shelves = _Shelves(catalogue, n_interests, stream)
    spread = np.arange(MAX_LENGTH - MIN_LENGTH + 1, dtype=np.int64)
    lengths = MIN_LENGTH + pick(
        cumulated(_SCALE // (spread + _LENGTH_TAIL) ** 2), stream.uniform(n_users), 0, len(spread)
    )
    interests, weight_at = _plant_interests(n_users, n_interests, stream)

    everyone = np.arange(n_users)
    last_role = np.full(interests.shape, len(ROLES), dtype=np.int64)
    last_line = np.zeros(interests.shape, dtype=np.int64)
    taken = np.full((n_users, MAX_LENGTH), -1, dtype=np.int64)
    mix = np.zeros((n_users, 2, n_interests))
    for step in range(MAX_LENGTH):
        u = stream.uniform(5 + _REDRAWS, n_users)
        goes_on = step < lengths
        weights = weight_at(step / (lengths - 1))
        running = np.cumsum(weights, axis=1)
        slot = (running <= (u[0] * running[:, -1])[:, None]).sum(axis=1)
        half = (2 * step >= lengths).astype(np.int64)
        share = weights / running[:, -1:] * goes_on[:, None]
        for k in range(interests.shape[1]):
            mix[everyone, half, interests[:, k]] += share[:, k]

        interest = interests[everyone, slot]
        before = last_role[everyone, slot]
        role = (u[1][:, None] >= _NEXT_ROLE[before]).sum(axis=1)
        noise, follows = u[2] < NOISE_SHARE, u[3] < FOLLOW_SHARE
        line = last_line[everyone, slot]
        low, high = _stretch(shelves, interest, role, line, follows, before < len(ROLES))
        low, high = np.where(noise, 0, low), np.where(noise, len(shelves.order), high)
        item = shelves.order[pick(shelves.cumulative, u[4], low, high)]
        wide_low, wide_high = shelves.of_interest(interest)
        for again in range(_REDRAWS):  # people seldom buy the very same thing twice
            repeated = (taken == item[:, None]).any(axis=1)
            if again == _REDRAWS - 2:  # the stretch may be used up: look at the whole interest
                low, high = np.where(noise, low, wide_low), np.where(noise, high, wide_high)
            drawn = shelves.order[pick(shelves.cumulative, u[5 + again], low, high)]
            item = np.where(repeated, drawn, item)
        taken[:, step] = np.where(goes_on, item, -1)
        keeps = goes_on & ~noise
        last_role[everyone[keeps], slot[keeps]] = catalogue.role[item[keeps]]
        last_line[everyone[keeps], slot[keeps]] = catalogue.line[item[keeps]]

    return _in_time_order(taken, lengths, _shares(mix, lengths), stream)


def _stretch(
    shelves: _Shelves,
    interest: IntArray,
    role: IntArray,
    line: IntArray,
    follows: Bools,
    has_last: Bools,
) -> tuple[IntArray, IntArray]:
    """Where on the shelves the next item is drawn from: the narrowest stretch that has items."""
    low, high = shelves.of_interest(interest)
    role_low, role_high = shelves.of_role(interest, role)
    wanted = follows & (role_high > role_low)
    low, high = np.where(wanted, role_low, low), np.where(wanted, role_high, high)
    line_low, line_high = shelves.of_line(interest, role, line)
    wanted = follows & has_last & (line_high > line_low)
    return np.where(wanted, line_low, low), np.where(wanted, line_high, high)


class _Drift:
    """The weight of each of a user's interests at a point of the history (0: first, 1: last)."""

    def __init__(self, peaks: FloatArray, strengths: FloatArray) -> None:
        self._peaks = peaks
        self._strengths = strengths

    def __call__(self, at: FloatArray) -> FloatArray:
        away = np.abs(at[:, None] - self._peaks)
        return self._strengths * (_FLOOR + np.maximum(0.0, 1.0 - away / _HALF_WIDTH))


def _plant_interests(n_users: int, n_interests: int, stream: Stream) -> tuple[IntArray, _Drift]:
    """Each user's interests [users, slots] and their drift; unused slots have strength 0."""
    slots = min(MAX_INTERESTS, n_interests)
    counts = 1 + pick(cumulated(_COUNT_WEIGHTS[:slots]), stream.uniform(n_users), 0, slots)
    popularity = _SCALE // (stream.permutation(n_interests) + _INTEREST_TAIL)
    free = np.tile(popularity, (n_users, 1))
    interests = np.empty((n_users, slots), dtype=np.int64)
    everyone = np.arange(n_users)
    u = stream.uniform(slots, n_users)
    for k in range(slots):
        running = np.cumsum(free, axis=1)
        at = (u[k] * running[:, -1]).astype(np.int64)
        interests[:, k] = (running <= at[:, None]).sum(axis=1)
        free[everyone, interests[:, k]] = 0
    # Peaks are spread over the history, one in each of as many equal parts as there are interests.
    slot = np.arange(slots)
    peaks = (slot + stream.uniform(n_users, slots)) / counts[:, None]
    strengths = (0.6 + stream.uniform(n_users, slots)) * (slot < counts[:, None])
    return interests, _Drift(peaks, strengths)


def _shares(mix: FloatArray, lengths: IntArray) -> FloatArray:
    """Sums over the steps of each half, as shares."""
    first = (lengths + 1) // 2
    return mix / np.stack([first, lengths - first], axis=1)[:, :, None]


def _in_time_order(
    taken: IntArray, lengths: IntArray, mix: FloatArray, stream: Stream
) -> Histories:
    n_users = len(taken)
    first = _START + (stream.uniform(n_users) * _YEAR).astype(np.int64)
    gaps = _HOUR + (stream.uniform(*taken.shape) * _MONTH).astype(np.int64)
    times = first[:, None] + np.cumsum(gaps, axis=1)
    user, step = np.nonzero(np.arange(taken.shape[1]) < lengths[:, None])
    time = times[user, step]
    order = np.argsort(time, kind="stable")
    return Histories(
        user=user[order].astype(np.int64),
        item=taken[user, step][order],
        time=time[order],
        mix=mix,
    )
