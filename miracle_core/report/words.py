"""The result of a comparison in sentences. Plain text, not HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from miracle_core.errors import InputError
from miracle_core.registry import system
from miracle_core.report.comparison import Against, Comparison
from miracle_core.report.statistics import MARGIN, Difference
from miracle_core.report.systems import SystemRuns
from miracle_core.report.tables import ENOUGH

_WHOLE = 10.0  # per cent; smaller differences are shown with a digit after the point


def shown(own: SystemRuns) -> str:
    """A system's name for people: its title, or the folder where several are of one kind."""
    if own.name != own.about.model:
        return own.name
    try:
        return system(own.name).title
    except InputError:  # registered by a program that isn't at work here
        return own.name


def metric_name(metric: str) -> str:
    """``ndcg@10`` as it is written: NDCG@10."""
    name, _, k = metric.partition("@")
    return f"{name.capitalize() if name == 'recall' else name.upper()}@{k}"


def p_words(p: float) -> str:
    """A p-value: ``p < .001``, ``p = .021``."""
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


@dataclass(frozen=True)
class Amount:
    """How large a difference is, in words.

    Attributes:
        size: the difference without its sign.
        span: its interval without signs, for a sentence that says which is higher.
        signed: the difference with its sign.
        signed_span: its interval with signs.
    """

    size: str
    span: str
    signed: str
    signed_span: str


def amount(found: Difference) -> Amount:
    """A difference in per cent of the other system's mean.

    If that mean can't be told from 0, it is in the metric's own unit instead.
    """
    value, low, high, unit, decimals = (
        found.difference,
        found.interval.low,
        found.interval.high,
        "",
        4,
    )
    if found.relative is not None and found.relative_interval is not None:
        ends = found.relative_interval
        value, low, high = found.relative * 100, ends.low * 100, ends.high * 100
        unit, decimals = " %", 0 if abs(found.relative) * 100 >= _WHOLE else 1
    near, far = sorted((abs(low), abs(high)))
    return Amount(
        f"{abs(value):.{decimals}f}{unit}",
        f"{near:.{decimals}f} to {far:.{decimals}f}{unit}",
        f"{signed(value, decimals)}{unit}",
        f"{signed(low, decimals)} to {signed(high, decimals)}{unit}",
    )


def signed(value: float, decimals: int = 4) -> str:
    """A number with its sign."""
    return f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def absolute(found: Difference) -> tuple[str, str]:
    """A difference and its interval in the metric's own unit, with signs."""
    ends = found.interval
    return signed(found.difference), f"{signed(ends.low)} to {signed(ends.high)}"


_APART = "≈"
_USERS = "†"


def signs(found: Difference) -> str:
    """The marks of a difference that :func:`signs_told` explains."""
    return f"{'' if found.side else f' {_APART}'}{'' if found.both else f' {_USERS}'}"


def signs_told(found: Sequence[Difference]) -> str:
    """What the marks of these differences mean."""
    said = f"{_APART}: the interval holds 0, so the two cannot be told apart."
    if not all(each.both for each in found):
        said += f" {_USERS}: one run of a system, an interval of users only and too narrow."
    return said


def percent(share: float) -> str:
    """A share as per cent: ``2.9 %``."""
    return f"{share * 100:.1f} %"


def whole_percent(share: float) -> str:
    """A change in whole per cent with its sign; no sign before 0."""
    number = round(share * 100)
    return f"{signed(number, 0) if number else 0} %"


def named(names: Sequence[str]) -> str:
    """Names one after the other: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def sentence(comparison: Comparison, found: Against) -> str:
    """The reference against another system on the primary metric."""
    one = shown(comparison.reference)
    two = next(shown(own) for own in comparison.systems if own.name == found.other)
    own = found.differences[comparison.primary]
    size = amount(own)
    if found.adjusted_p is not None and own.equal_p is not None:
        if found.verdict in ("better", "worse"):
            p = p_words(found.adjusted_p)
            return f"{one} is {found.verdict} than {two} by {size.size} ({size.span}), {p}."
        if found.verdict == "equal":
            return (
                f"{one} and {two} are equal within {MARGIN * 100:g} %: the difference is "
                f"{size.signed} ({size.signed_span}), {p_words(own.equal_p)} for being that close."
            )
        return (
            f"{one} and {two} cannot be told apart: the difference is {size.signed} "
            f"({size.signed_span}), {p_words(found.adjusted_p)}."
        )
    said = _described(one, two, own)
    if own.both:
        return f"{said}."
    claim = ": no claim is made" if comparison.proposed else ""
    return f"{said}. With one run of a system this interval is of users only{claim}."


def _described(one: str, two: str, found: Difference) -> str:
    """A difference in words, without a claim and without a full stop."""
    size = amount(found)
    if not found.side:
        return (
            f"{one} and {two} cannot be told apart: the difference is {size.signed} "
            f"({size.signed_span}), and its interval holds 0"
        )
    return f"{one} is {size.size} {'above' if found.side > 0 else 'below'} {two} ({size.span})"


def in_short(comparison: Comparison) -> list[str]:
    """The first sentences of a report: who is first, and how sure that is."""
    primary, metric = comparison.primary, metric_name(comparison.primary)
    ranked = comparison.ranked()

    def mean_of(own: SystemRuns) -> str:
        found = comparison.means[own.name][primary]
        ends = f"{found.interval.low:.4f} to {found.interval.high:.4f}"
        return f"{shown(own)} {found.value:.4f} ({ends})"

    if len(ranked) == 1:
        k = primary.partition("@")[2]
        recall = comparison.means[ranked[0].name][f"recall@{k}"]
        ends = f"{recall.interval.low * 100:.1f} to {percent(recall.interval.high)}"
        return [
            f"Of {percent(recall.value)} of users ({ends}) the held-out item is among the first "
            f"{k}.",
            f"{metric}: {mean_of(ranked[0])}.",
        ]
    first, second = ranked[:2]
    said = f"Highest mean {metric}: {mean_of(first)}, then {mean_of(second)}."
    others = list(comparison.against)
    if comparison.reference.name not in (first.name, second.name):
        # The claim is about a third system, so these two are compared here.
        between = comparison.difference(first, second, primary)
        said += f" {_described(shown(first), shown(second), between)}."
    elif comparison.proposed is None:
        # The reader's first question is how far apart the first two are: it follows the means.
        nearest = next(found for found in others if found.other == second.name)
        others.remove(nearest)
        said += f" {sentence(comparison, nearest)}"
    places = {own.name: place for place, own in enumerate(ranked)}
    others.sort(key=lambda found: places[found.other])
    return [
        said,
        *_other_leaders(comparison, first),
        *(sentence(comparison, found) for found in others),
        *_few_seeds(comparison),
    ]


def _other_leaders(comparison: Comparison, first: SystemRuns) -> list[str]:
    """The metrics by which another system is first, and how far it leads; empty without any."""
    parts = []
    for metric in comparison.metrics[1:]:
        leader = comparison.ranked(metric)[0]
        level = comparison.means[leader.name][metric].value
        if leader is first or level == comparison.means[first.name][metric].value:
            continue
        found = comparison.difference(leader, first, metric)
        parts.append(f"{metric_name(metric)}: {_described(shown(leader), shown(first), found)}")
    return [f"Another system leads by other metrics. {'. '.join(parts)}."] if parts else []


def _few_seeds(comparison: Comparison) -> list[str]:
    """What to know where systems have few runs."""
    few = [own for own in comparison.systems if own.about.seeded and len(own.runs) < ENOUGH]
    if not few:
        return []
    counts = named([f"{shown(own)} ({len(own.runs)})" for own in few])
    return [
        f"Few trainings: fewer than {ENOUGH} seeds of {counts}. How far a system's figures move "
        "from seed to seed is then itself known roughly, so a close order may turn when more are "
        "trained."
    ]


def footing(comparison: Comparison) -> str:
    """What the sentences are based on: runs, intervals, tests."""
    metric = metric_name(comparison.primary)
    seeds = ", ".join(
        f"{shown(own)} {len(own.runs)}" for own in comparison.systems if own.about.seeded
    )
    runs = f" Runs (seeds) of each: {seeds}." if seeds else ""
    runs += " In brackets: 95 % intervals."
    if len(comparison.systems) == 1:
        return runs.strip()
    if comparison.proposed is None:
        return (
            "No hypothesis was fixed beforehand, so there is no test: the figures describe. The "
            f"differences in {metric} are those of the highest mean, which was picked after the "
            f"figures were seen; their intervals are not corrected for that or for their number."
            f"{runs}"
        )
    if all(found.adjusted_p is None for found in comparison.against):
        return (
            f"The claim that was named beforehand is {metric} of {shown(comparison.reference)}. "
            f"Each test of it needs two runs or more of a system, so no claim is made.{runs}"
        )
    tests = sum(found.adjusted_p is not None for found in comparison.against)
    return (
        f"The one claim, named beforehand, is {metric} of {shown(comparison.reference)} against "
        f"every other system; its {tests} p-value{'s are' if tests > 1 else ' is'} corrected for "
        f"their number (Holm). Everything else describes.{runs}"
    )
