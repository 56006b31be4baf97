"""The charts of a comparison's page: means, differences, slices, searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from miracle_core.report import svg
from miracle_core.report.comparison import Comparison
from miracle_core.report.markup import figure, folded, table, text
from miracle_core.report.statistics import MARGIN, Difference, Pair, mean
from miracle_core.report.systems import SystemRuns
from miracle_core.report.words import (
    absolute,
    metric_name,
    shown,
    signed,
    signs,
    signs_told,
)


@dataclass(frozen=True)
class Study:
    """A search of settings, for the figure of the best value against trials.

    Attributes:
        name: of the system.
        metric: the validation metric.
        values: of each trial; None where it failed or is not finished.
    """

    name: str
    metric: str
    values: tuple[float | None, ...]


def series_of(comparison: Comparison) -> dict[str, int]:
    """The series of each system, which is its place: it has the same mark in every chart."""
    return {own.name: place for place, own in enumerate(comparison.systems)}


def legend(names: Sequence[tuple[str, int]]) -> str:
    """Names with the marks of their series."""
    marks = "".join(
        f'<span><svg viewBox="0 0 16 16" aria-hidden="true">{svg.mark(series, 8, 8, 5)}</svg>'
        f"{text(name)}</span>"
        for name, series in names
    )
    return f'<div class="legend">{marks}</div>'


def bars(comparison: Comparison) -> str:
    """The mean of each system with its interval, a panel a metric; nothing for one system.

    Every metric of the table above is drawn, also those that the first system loses.
    """
    if len(comparison.systems) < 2:
        return ""
    series = series_of(comparison)
    panels = []
    for metric in comparison.metrics:
        ranked = comparison.ranked(metric)
        rows = [
            svg.Row(
                shown(own),
                series[own.name],
                svg.Point(found.value, found.interval.low, found.interval.high),
            )
            for own in ranked
            for found in (comparison.means[own.name][metric],)
        ]
        name = metric_name(metric)
        chart = svg.bars(rows, f"{name} of each system with 95 % intervals", 440)
        panels.append(f"<figure><figcaption><b>{name}</b></figcaption>{chart}</figure>")
    return (
        "<h3>Means with 95 % intervals</h3><p>All scales begin at 0 and each metric has its own, "
        "since metrics differ in size: bars of two panels can't be compared by their length.</p>"
        f'<div class="panels">{"".join(panels)}</div>'
    )


def forest(comparison: Comparison) -> str:
    """The differences between systems with their intervals, beside the margin of equality."""
    series = series_of(comparison)
    metric = metric_name(comparison.primary)
    places = {own.name: place for place, own in enumerate(comparison.ranked())}
    found = [
        (own, own.differences[comparison.primary])
        for own in sorted(comparison.against, key=lambda each: places[each.other])
    ]
    relative = [each.relative_interval if each.relative is not None else None for _, each in found]
    # Beside a system that is a fraction of the others, per cent would leave no room for them.
    narrow = all(ends is not None and ends.high < _TWICE for ends in relative)
    titles = {own.name: shown(own) for own in comparison.systems}
    rows, bands = [], []
    for own, each in found:
        point = svg.Point(each.difference, each.interval.low, each.interval.high)
        if narrow and each.relative is not None and each.relative_interval is not None:
            ends = each.relative_interval
            point = svg.Point(each.relative * 100, ends.low * 100, ends.high * 100)
        rows.append(svg.Row(f"than {titles[own.other]}", series[own.other], point))
        bands.append(MARGIN * 100 if narrow else MARGIN * each.b)
    unit, of = (" %", "in per cent of the other system's mean") if narrow else ("", "in its unit")
    reference = titles[comparison.reference.name]
    chart = svg.forest(rows, f"{metric} of {reference} against each other system", bands, unit)
    caption = (
        f"How much better {text(reference)} is in {metric}, {of}, with 95 % intervals. An interval "
        "that reaches over 0 leaves open who is better. "
        f"Shaded: within {MARGIN * 100:g} % of the other system's mean."
    )
    return figure(chart, caption)


_TWICE = 1.0  # a relative difference: twice the other system's mean

_SLICES = {
    "history_length": (
        "By length of the history",
        "items in the user's history",
        "Groups of users by how many items their history has, ",
    ),
    "target_popularity": (
        "By popularity of the held-out item",
        "how often the held-out item occurs in the training data",
        "Groups of users by how often their held-out item occurs in the training data: those of "
        "items that occur nowhere in it stand alone, the others are ",
    ),
}


def slice_points(
    own: SystemRuns,
    metric: str,
    members: npt.NDArray[np.int64],
    clusters: npt.NDArray[np.int64] | None,
) -> svg.Point:
    """The mean of some users with its interval; without one where there is no spread."""
    values = own.values(metric)[:, members]
    within, spread = _within(members, clusters)
    if not spread or not values.any():
        return svg.Point(float(values.mean()))
    found = mean(values, within, fixed=not own.about.seeded)
    return svg.Point(found.value, max(found.interval.low, 0.0), found.interval.high)


def _within(
    members: npt.NDArray[np.int64], clusters: npt.NDArray[np.int64] | None
) -> tuple[npt.NDArray[np.int64] | None, bool]:
    """The clusters of some users, and whether these are two units or more."""
    if clusters is None:
        return None, len(members) > 1
    within = np.unique(clusters[members], return_inverse=True)[1]
    return within, bool(within.any())


def _differences(comparison: Comparison, name: str, labels: Sequence[str]) -> str:
    """The reference against each other system in each group of users, as a table."""
    cut = comparison.groups[name]
    reference, metric = comparison.reference, comparison.primary
    rows = []
    every = []
    for other in comparison.ranked():
        if other is reference:
            continue
        cells = []
        for group in cut:
            found = _apart(reference, other, metric, group.members, comparison.clusters)
            if isinstance(found, float):
                cells.append(signed(found))
                continue
            every.append(found)
            value, ends = absolute(found)
            cells.append(f"{value}{signs(found)}<small>{ends}</small>")
        rows.append([text(shown(other)), *cells])
    return (
        table([f"{text(shown(reference))} less", *(text(label) for label in labels)], rows)
        + f'<p class="small">Differences in {metric_name(metric)}, user by user, with 95 % '
        f"intervals. They describe, and are not corrected for their number. {signs_told(every)}</p>"
    )


def _apart(
    one: SystemRuns,
    two: SystemRuns,
    metric: str,
    members: npt.NDArray[np.int64],
    clusters: npt.NDArray[np.int64] | None,
) -> Difference | float:
    """What two systems differ by for some users; a number where there is no spread."""
    a, b = (own.values(metric)[:, members] for own in (one, two))
    within, spread = _within(members, clusters)
    if not spread or not (a.any() or b.any()):
        return float(a.mean() - b.mean())
    fixed_a, fixed_b = not one.about.seeded, not two.about.seeded
    return Pair(a, b, within, fixed_a=fixed_a, fixed_b=fixed_b).difference


def sliced(comparison: Comparison, name: str) -> str:
    """The primary metric over groups of users, as a chart and, folded, as numbers."""
    heading, axis, says = _SLICES[name]
    cut = comparison.groups[name]
    if len(cut) < 2:
        return ""
    metric = comparison.primary
    series = [
        (
            shown(own),
            place,
            [slice_points(own, metric, group.members, comparison.clusters) for group in cut],
        )
        for place, own in enumerate(comparison.systems)
    ]
    labels = [f"{group.label}\n{len(group.members):,} users" for group in cut]
    title = f"{metric_name(metric)} {heading[0].lower()}{heading[1:]}"
    chart = svg.slices(labels, series, title, axis)
    keys = [(own, number) for own, number, _ in series] if len(series) > 1 else []
    caption = (
        f"{says}as near to quarters as whole numbers allow. Whiskers are 95 % intervals, not "
        "corrected for their number. "
        + (
            "Two systems' whiskers in a group can't be compared by overlap, as both served the "
            "same users: what they differ by is surer than either mean, and stands in the second "
            "table below. "
            if len(series) > 1
            else ""
        )
        + "No claim is made about slices."
    )
    if any(point.value == 0 for _, _, points in series for point in points):
        caption += (
            " Where a mean is 0 nobody was served, so there is no spread and no whisker; that is "
            "no sure 0."
        )
    order = [own.name for own in comparison.ranked()]
    rows = [
        [text(system), *(_slice_cell(point) for point in points)]
        for system, _, points in sorted(
            series, key=lambda each: order.index(comparison.systems[each[1]].name)
        )
    ]
    return (
        f"<h3>{title}</h3>"
        + (legend(keys) if keys else "")
        + figure(chart, caption)
        + folded(
            f"{title} in numbers",
            table([f"system, by {axis}", *(text(label) for label in labels)], rows),
        )
        + (
            folded(
                f"{title}: what systems differ by in each group",
                _differences(comparison, name, labels),
            )
            if len(series) > 1
            else ""
        )
    )


def _slice_cell(point: svg.Point) -> str:
    if point.low is None or point.high is None:
        return f"{point.value:.4f}"
    return f"{point.value:.4f}<small>{point.low:.4f} to {point.high:.4f}</small>"


def searches(studies: Sequence[Study]) -> str:
    """Best validation so far against trials, a chart for each metric."""
    parts = []
    for metric in dict.fromkeys(each.metric for each in studies):
        series = []
        for place, each in enumerate(own for own in studies if own.metric == metric):
            done = [
                (number + 1, value) for number, value in enumerate(each.values) if value is not None
            ]
            if not done:
                continue
            best = np.maximum.accumulate([value for _, value in done])
            series.append(
                svg.Line(
                    each.name,
                    place,
                    tuple(float(number) for number, _ in done),
                    tuple(best.tolist()),
                    stepped=True,
                    mark=int(np.argmax(best)),
                )
            )
        if not series:
            continue
        name = metric_name(metric)
        counts = ", ".join(
            f"{text(each.name)} {len(each.values)}" for each in studies if each.metric == metric
        )
        chart = svg.lines(series, f"best {name} so far against trials", "trials")
        caption = (
            f"The best {name} on the validation part so far, as more settings are tried; the mark "
            f"is where the best one was found. Trials of each: {counts}. A system whose line still "
            "rises may gain from a longer search, and systems with other numbers of trials had "
            "other chances."
        )
        keys = [(line.name, line.series) for line in series]
        parts.append(legend(keys) + figure(chart, caption))
    if not parts:
        return ""
    return f"<section><h2>Search of settings</h2>{''.join(parts)}</section>"
