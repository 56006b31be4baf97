"""The result of a comparison in sentences. Plain text, not HTML."""

from __future__ import annotations

from dataclasses import dataclass

from miracle_core.errors import InputError
from miracle_core.registry import system
from miracle_core.report.comparison import Against, Comparison
from miracle_core.report.statistics import MARGIN, Difference
from miracle_core.report.systems import SystemRuns
from miracle_core.report.tables import ENOUGH

_WHOLE = 10.0  # per cent; smaller differences are told with a digit after the point


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
        size: without its sign.
        span: its interval without signs, for a sentence that names the side.
        signed: with its sign.
        signed_span: its interval with signs.
    """

    size: str
    span: str
    signed: str
    signed_span: str


def amount(found: Difference) -> Amount:
    """A difference in per cent of the other system's mean.

    Where that mean can't be told from 0, in the metric's own unit.
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
        f"{_signed(value, decimals)}{unit}",
        f"{_signed(low, decimals)} to {_signed(high, decimals)}{unit}",
    )


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


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
    if own.interval.low > 0 or own.interval.high < 0:
        side = "above" if own.difference > 0 else "below"
        said = f"{one} is {size.size} {side} {two} ({size.span})"
    else:
        said = (
            f"{one} and {two}: the interval of their difference holds 0, {size.signed} "
            f"({size.signed_span})"
        )
    if own.both:
        return f"{said}."
    return f"{said}. With one run of a system this interval is of users only: no claim is made."


def in_short(comparison: Comparison) -> list[str]:
    """The first sentences of a report: who is first, and how sure that is."""
    primary, metric = comparison.primary, metric_name(comparison.primary)
    ranked = sorted(comparison.systems, key=lambda own: -comparison.means[own.name][primary].value)

    def told(own: SystemRuns) -> str:
        found = comparison.means[own.name][primary]
        ends = f"{found.interval.low:.4f} to {found.interval.high:.4f}"
        return f"{shown(own)} {found.value:.4f} ({ends})"

    if len(ranked) == 1:
        k = primary.partition("@")[2]
        recall = comparison.means[ranked[0].name][f"recall@{k}"]
        ends = f"{recall.interval.low:.1%} to {recall.interval.high:.1%}"
        return [
            f"Of {recall.value:.1%} of users ({ends}) the held-out item is among the first {k}.",
            f"{metric}: {told(ranked[0])}.",
        ]
    first = f"Highest mean {metric}: {told(ranked[0])}, then {told(ranked[1])}."
    return [first, *(sentence(comparison, found) for found in comparison.against)]


def footing(comparison: Comparison) -> str:
    """What the sentences rest on."""
    metric = metric_name(comparison.primary)
    seeds = ", ".join(
        f"{shown(own)} {len(own.runs)}" for own in comparison.systems if own.about.seeded
    )
    runs = f" Runs (seeds) of each: {seeds}." if seeds else ""
    runs += " In brackets: 95 % intervals."
    if len(comparison.systems) == 1:
        return runs.strip()
    few = [own for own in comparison.systems if own.about.seeded and len(own.runs) < ENOUGH]
    if few:
        runs += f" With fewer than {ENOUGH} of a system, what is said of it rests on little."
    if comparison.proposed is None:
        return (
            f"No claim was named before the runs were compared (--proposed NAME), so these "
            f"differences in {metric} describe, and have no p-values.{runs}"
        )
    if all(found.adjusted_p is None for found in comparison.against):
        return (
            f"The claim that was named beforehand is {metric} of {shown(comparison.reference)}. "
            f"Each test of it needs two runs or more of a system, so no claim is made.{runs}"
        )
    return (
        f"The one claim, named beforehand, is {metric} of {shown(comparison.reference)} against "
        f"every other system; its p-values are corrected for their number (Holm). Everything else "
        f"describes.{runs}"
    )
