"""The charts of a comparison's page: means, differences, slices, searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from miracle_core.evaluation.slices import groups
from miracle_core.report import svg
from miracle_core.report.comparison import Comparison
from miracle_core.report.markup import figure, text
from miracle_core.report.statistics import MARGIN, mean
from miracle_core.report.systems import SystemRuns
from miracle_core.report.words import metric_name, shown


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
    """The mean of each system with its interval, a panel a metric; nothing for one system."""
    if len(comparison.systems) < 2:
        return ""
    series = series_of(comparison)
    k = comparison.primary.partition("@")[2]
    wanted = dict.fromkeys([comparison.primary, f"recall@{k}", "recall@50", "ndcg@50"])
    panels = []
    for metric in wanted:
        ranked = sorted(
            comparison.systems, key=lambda own: -comparison.means[own.name][metric].value
        )
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
    return f'<h3>Means with 95 % intervals</h3><div class="panels">{"".join(panels)}</div>'


def forest(comparison: Comparison) -> str:
    """The differences between systems with their intervals, beside the margin of equality."""
    series = series_of(comparison)
    metric = metric_name(comparison.primary)
    found = [(own, own.differences[comparison.primary]) for own in comparison.against]
    relative = [
        (own, each.relative, each.relative_interval)
        for own, each in found
        if each.relative is not None and each.relative_interval is not None
    ]
    titles = {own.name: shown(own) for own in comparison.systems}
    if len(relative) == len(found):
        rows = [
            svg.Row(
                f"than {titles[own.other]}",
                series[own.other],
                svg.Point(value * 100, ends.low * 100, ends.high * 100),
            )
            for own, value, ends in relative
        ]
        unit, band, of = " %", MARGIN * 100, "in per cent of the other system's mean"
    else:
        rows = [
            svg.Row(
                f"than {titles[own.other]}",
                series[own.other],
                svg.Point(each.difference, each.interval.low, each.interval.high),
            )
            for own, each in found
        ]
        unit, band, of = "", 0.0, "as a difference of means"
    reference = titles[comparison.reference.name]
    chart = svg.forest(rows, f"{metric} of {reference} against each other system", band, unit)
    caption = (
        f"How much better {text(reference)} is in {metric}, {of}, with 95 % intervals. An interval "
        "that reaches over 0 leaves open who is better."
        + (f" Shaded: within {MARGIN * 100:g} %, which we call equal." if band else "")
    )
    return figure(chart, caption)


_SLICES = {
    "history_length": (
        "By length of the history",
        "items in the user's history",
        "Users are cut into quarters by how many items their history has",
    ),
    "target_popularity": (
        "By popularity of the held-out item",
        "times the held-out item was taken in the training part",
        "Users are cut into quarters by how popular their held-out item is",
    ),
}


def slice_points(
    own: SystemRuns,
    metric: str,
    members: npt.NDArray[np.int64],
    clusters: npt.NDArray[np.int64] | None,
) -> svg.Point:
    """The mean of some users with its interval; without one where they are a single cluster."""
    values = own.values(metric)[:, members]
    within = None
    if clusters is not None:
        within = np.unique(clusters[members], return_inverse=True)[1]
    if len(members) < 2 or (within is not None and not within.any()):
        return svg.Point(float(values.mean()))
    found = mean(values, within, fixed=not own.about.seeded)
    return svg.Point(found.value, max(found.interval.low, 0.0), found.interval.high)


def sliced(comparison: Comparison, name: str) -> str:
    """The claim's metric over groups of users: by length of history or popularity of the target."""
    heading, axis, says = _SLICES[name]
    users = comparison.users
    numbers = users.lengths if name == "history_length" else users.target_counts
    cut = groups(numbers)
    if len(cut) < 2:
        return ""
    metric = f"recall@{comparison.primary.partition('@')[2]}"
    series = [
        (
            shown(own),
            place,
            [slice_points(own, metric, group.members, comparison.clusters) for group in cut],
        )
        for place, own in enumerate(comparison.systems)
    ]
    labels = [f"{group.label} ({len(group.members):,} users)" for group in cut]
    title = f"{metric_name(metric)} {heading[0].lower()}{heading[1:]}"
    chart = svg.slices(labels, series, title, axis)
    keys = [(own, number) for own, number, _ in series] if len(series) > 1 else []
    return (
        f"<h3>{title}</h3>"
        + (legend(keys) if keys else "")
        + figure(
            chart,
            f"{says}; users of equal numbers stay together. Whiskers are 95 % intervals. No claim "
            "is made about slices.",
        )
    )


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
