"""A comparison computed a second time from the stored ranks, by independent code.

Nothing here comes from the evaluator, the statistics or the tables. Files are read with pyarrow
alone, and metrics and variances are loops in plain Python. Only the t distribution is scipy's, from
another of its functions. So a mistake in one computation shows as a difference between the two.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from scipy import special

TOLERANCE = 1e-9
Users = dict[str, float]  # a number of each user, by id


def stored_ranks(path: Path) -> dict[str, int | None]:
    """The rank of each user's held-out item, as the file has it."""
    table = pq.read_table(path, columns=["user_id", "rank"])
    return dict(zip(table["user_id"].to_pylist(), table["rank"].to_pylist(), strict=True))


def check_lists(path: Path) -> list[str]:
    """Contradictions between a file's ranks and its lists, a sentence each."""
    wrong = []
    for batch in pq.ParquetFile(path).iter_batches(1 << 14):
        for row in batch.to_pylist():
            top, rank, target = row["top_item_ids"], row["rank"], row["target_item_id"]
            if top is None:
                wrong.append(f"{path}: user {row['user_id']!r} has no list")
                continue
            place = top.index(target) + 1 if target in top else None
            # An item that is not on the list may have any rank beyond the list's end.
            beyond = rank is None or rank > len(top)
            if place != rank and not (place is None and beyond):
                wrong.append(
                    f"{path}: user {row['user_id']!r} has rank {rank}, and the list has it at "
                    f"{place}"
                )
    return wrong


def gain(rank: int | None, metric: str) -> float:
    """One user's metric."""
    name, _, k = metric.partition("@")
    if rank is None or rank > int(k):
        return 0.0
    return {"recall": 1.0, "ndcg": math.log(2) / math.log(rank + 1), "mrr": 1 / rank}[name]


@dataclass(frozen=True)
class _Kept:
    """What the files of a comparison hold.

    Attributes:
        ranks: by system: its runs, each with the rank of every user's held-out item.
        fixed: by system: whether every seed gives the same.
        clusters: the cluster of each user, or None.
    """

    ranks: Mapping[str, Sequence[Mapping[str, int | None]]]
    fixed: Mapping[str, bool]
    clusters: Mapping[str, str] | None

    def runs(self, system: str, metric: str) -> list[Users]:
        """Each user's metric in every run of a system."""
        return [
            {user: gain(rank, metric) for user, rank in run.items()} for run in self.ranks[system]
        ]

    def contrast(self, a: str, b: str, metric: str) -> Callable[..., dict[str, float]]:
        """:func:`_contrast` of two systems, which may be given a ratio."""
        fixed = (self.fixed[a], self.fixed[b])
        return partial(_contrast, self.runs(a, metric), self.runs(b, metric), self.clusters, fixed)


def verify(document: Mapping[str, Any], clusters: Mapping[str, str] | None = None) -> list[str]:
    """Compute all figures of a comparison again, and say what differs.

    Args:
        document: what ``miracle compare --json`` printed; the files it names are read.
        clusters: the cluster of each user, where the comparison had any.

    Returns:
        One sentence for each figure that is not what the ranks give; none if all are.
    """
    if (document["clusters"] is not None) != (clusters is not None):
        return ["the comparison had clusters and none are given, or the other way round"]
    kept = _Kept(
        {
            system["name"]: [stored_ranks(Path(file)) for file in system["files"]]
            for system in document["systems"]
        },
        {system["name"]: not system["seeded"] for system in document["systems"]},
        clusters,
    )
    wrong: list[str] = []
    for system in document["systems"]:
        wrong += _means(system, kept)
    reference, p_values = document["reference"], {}
    for against in document["against"]:
        other = against["other"]
        for metric, said in against["differences"].items():
            contrast = kept.contrast(reference, other, metric)
            found = contrast()
            where = f"{reference} - {other} {metric}"
            wrong += _difference(where, found, contrast, said, document)
            if said["p"] is not None:
                p_values[other] = found["p"]
    for said in document.get("pairs", ()):  # not kept by an older version
        found = kept.contrast(said["a"], said["b"], document["primary"])()
        wrong += _figures(f"{said['a']} - {said['b']} {document['primary']}", found, said)
    return wrong + _slices(document, kept.ranks) + _verdicts(document, _holm(p_values))


def _means(system: Mapping[str, Any], kept: _Kept) -> list[str]:
    """The means of one system, over all its runs and of each."""
    wrong = []
    for file in system["files"]:
        wrong += check_lists(Path(file))
    for metric, said in system["metrics"].items():
        where = f"{system['name']} {metric}"
        own = kept.runs(system["name"], metric)
        zero = [dict.fromkeys(own[0], 0.0)]
        found = _contrast(own, zero, kept.clusters, (kept.fixed[system["name"]], True))
        wrong += _differing(f"{where} mean", found["difference"], said["value"])
        wrong += _figures(where, found, said, ["error"])
        for run, value in zip(own, said["runs"], strict=True):
            wrong += _differing(f"{where} of a run", _mean(run.values()), value)
    return wrong


def _difference(
    where: str,
    found: Mapping[str, float],
    contrast: Callable[..., dict[str, float]],
    said: Mapping[str, Any],
    document: Mapping[str, Any],
) -> list[str]:
    """One metric's difference of two systems: the tests of it, and of their ratio."""
    wrong = _figures(where, found, said)
    if said["relative"] is not None:
        wrong += _differing(f"{where} relative", said["a"] / said["b"] - 1, said["relative"])
        for name, end in (said["relative_interval"] or {}).items():
            # By definition the t test of that ratio has p = 5 %.
            p = contrast(ratio=1 + end)["p"]
            if found["error"] and not math.isclose(p, 1 - document["level"], rel_tol=1e-4):
                wrong.append(f"{where} relative {name}: p is {p:.6g} there, not 5 %")
    if said["equal_p"] is not None:
        margin = document["margin"]
        above, below = 1 - contrast(ratio=1 - margin)["below"], contrast(ratio=1 + margin)["below"]
        wrong += _differing(f"{where} equal p", max(above, below), said["equal_p"])
    if said["p"] is not None:
        wrong += _differing(f"{where} p", found["p"], said["p"])
    return wrong


def _verdicts(document: Mapping[str, Any], adjusted: Mapping[str, float]) -> list[str]:
    """The adjusted p-values, and what the claims come to."""
    wrong = []
    for against in document["against"]:
        other, said = against["other"], against["adjusted_p"]
        if said is not None or other in adjusted:
            wrong += _differing(f"{other} adjusted p", adjusted.get(other), said)
        own = against["differences"][document["primary"]]
        verdict = verdict_of(own, adjusted.get(other), 1 - document["level"])
        if verdict != against["verdict"]:
            wrong.append(
                f"{document['reference']} - {other} verdict: {verdict} from the p-values, "
                f"{against['verdict']} in the table"
            )
    return wrong


def verdict_of(difference: Mapping[str, Any], adjusted_p: float | None, alpha: float) -> str:
    """What a claim comes to; the difference's own figures are held against the ranks elsewhere."""
    if adjusted_p is None or difference["equal_p"] is None:
        return "no claim"
    if difference["equal_p"] < alpha:
        return "equal"
    if adjusted_p >= alpha:
        return "not told apart"
    return "better" if difference["difference"] > 0 else "worse"


def _mean(values: Any) -> float:
    own = list(values)
    return math.fsum(own) / len(own)


def _figures(
    where: str,
    found: Mapping[str, float],
    said: Mapping[str, Any],
    names: Sequence[str] = ("difference", "error", "df"),
) -> list[str]:
    """Some figures of a mean or a difference, and the ends of its interval."""
    expected = {name: said[name] for name in names}
    expected |= {end: said["interval"][end] for end in ("low", "high")}
    return [
        sentence
        for name, value in expected.items()
        for sentence in _differing(f"{where} {name}", found[name], value)
    ]


def _differing(where: str, found: float | None, said: float | None) -> list[str]:
    if found is None or said is None:
        return [] if found is said else [f"{where}: {found} from the ranks, {said} in the table"]
    if math.isclose(found, said, rel_tol=1e-6, abs_tol=TOLERANCE):
        return []
    return [f"{where}: {found:.10g} from the ranks, {said:.10g} in the table"]


def _contrast(
    a: Sequence[Users],
    b: Sequence[Users],
    clusters: Mapping[str, str] | None,
    fixed: tuple[bool, bool],
    ratio: float = 1.0,
) -> dict[str, float]:
    """``mean_a - ratio * mean_b`` with its t test: mean squares, term by term."""
    users = list(a[0])
    own = {user: user if clusters is None else clusters[user] for user in users}
    n, m = len(users), len(set(own.values()))
    scale = m / (m - 1) / n**2
    means = [{user: _mean(run[user] for run in runs) for user in users} for runs in (a, b)]
    difference = _mean(means[0].values()) - ratio * _mean(means[1].values())
    between: dict[str, float] = defaultdict(float)
    for user in users:
        between[own[user]] += means[0][user] - ratio * means[1][user] - difference
    users_part = math.fsum(total**2 for total in between.values()) * scale
    terms: list[tuple[float, float]] = [(users_part, m - 1)]
    if all(len(runs) > 1 or alone for runs, alone in zip((a, b), fixed, strict=True)):
        for runs, average, weight in zip((a, b), means, (1.0, ratio**2), strict=True):
            found = _seed_terms(runs, average, own, scale, m)
            terms += [(value * weight, df) for value, df in found]
    variance = math.fsum(value for value, _ in terms)
    spread = math.fsum(value**2 / df for value, df in terms)
    df = variance**2 / spread if spread else m - 1.0
    error = math.sqrt(variance)
    half = float(special.stdtrit(df, 0.975)) * error
    t = difference / error if error else math.copysign(math.inf, difference) if difference else 0.0
    below = float(special.stdtr(df, t))
    return {
        "difference": difference,
        "error": error,
        "df": df,
        "low": difference - half,
        "high": difference + half,
        "below": below,
        "p": 2 * float(special.stdtr(df, -abs(t))),
    }


def _seed_terms(
    runs: Sequence[Users], average: Users, own: Mapping[str, str], scale: float, clusters: int
) -> list[tuple[float, float]]:
    """What seeds add beyond what users show already: two terms, or none."""
    s = len(runs)
    if s < 2:
        return []
    levels = [_mean(run.values()) for run in runs]
    whole = _mean(levels)
    v = math.fsum((level - whole) ** 2 for level in levels) / (s - 1) / s
    squares = []
    for run, level in zip(runs, levels, strict=True):
        left: dict[str, float] = defaultdict(float)
        for user, value in run.items():
            left[own[user]] += value - level - average[user] + whole
        squares += [total**2 for total in left.values()]
    w = math.fsum(squares) / (s - 1) * scale / s
    return [(v, s - 1.0), (-w, (s - 1.0) * (clusters - 1))] if v > w else []


def _slices(
    document: Mapping[str, Any], ranks: Mapping[str, Sequence[Mapping[str, int | None]]]
) -> list[str]:
    """Who wins and the slices' means, users picked by the range that a slice is named by."""
    primary, reference = document["primary"], document["reference"]
    first = pq.read_table(
        document["systems"][0]["files"][0], columns=["user_id", "history_length", "target_count"]
    )
    users = first["user_id"].to_pylist()
    numbers = {
        "history_length": dict(zip(users, first["history_length"].to_pylist(), strict=True)),
        "target_popularity": dict(zip(users, first["target_count"].to_pylist(), strict=True)),
    }
    averages = {
        name: {user: _mean(gain(run[user], primary) for run in runs) for user in users}
        for name, runs in ranks.items()
    }
    wrong = []

    def members(name: str, label: str) -> list[str]:
        least, _, most = label.partition("-")
        low, high = int(least), int(most or least)
        return [user for user in users if low <= numbers[name][user] <= high]

    for name, slices in document["slices"].items():
        for said in slices:
            own = members(name, said["label"])
            for system, value in said["means"].items():
                where = f"{system} {primary}, {name} {said['label']}"
                wrong += _differing(where, _mean(averages[system][user] for user in own), value)
    for against in document["against"]:
        a, b = averages[reference], averages[against["other"]]
        wins = against["wins"]
        parts = [("all", users, wins["all"])]
        for name in numbers:
            parts += [
                (f"{name} {said['label']}", members(name, said["label"]), said)
                for said in wins[name]
            ]
        for label, own, said in parts:
            where = f"{reference} - {against['other']}, users of {label}"
            # Sums of equal numbers in another order may differ in their last digit.
            near = TOLERANCE
            better = _mean(float(a[user] - b[user] > near) for user in own)
            worse = _mean(float(b[user] - a[user] > near) for user in own)
            neither = _mean(float(a[user] == b[user] == 0) for user in own)
            if "users" in said:
                wrong += _differing(f"{where} users", len(own), said["users"])
            if "neither" in said:  # not kept by an older version
                wrong += _differing(f"{where} neither", neither, said["neither"])
            wrong += _differing(f"{where} better", better, said["better"])
            wrong += _differing(f"{where} worse", worse, said["worse"])
    return wrong


def _holm(p_values: Mapping[str, float]) -> dict[str, float]:
    left = sorted(p_values, key=lambda name: p_values[name])
    adjusted: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(left):
        highest = max(highest, min(1.0, p_values[name] * (len(left) - place)))
        adjusted[name] = highest
    return adjusted
