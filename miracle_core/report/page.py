"""One self-contained HTML page of a comparison, or of one system.

Nothing is loaded from elsewhere, there are no scripts, and all text is escaped. The same input
gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from miracle_core.report.charts import Study, bars, forest, searches, sliced
from miracle_core.report.comparison import Against, Comparison
from miracle_core.report.markup import bullets, table, text
from miracle_core.report.measured import NONE, encoder_of, measured
from miracle_core.report.statistics import MARGIN, Interval, Mean
from miracle_core.report.systems import SystemRuns
from miracle_core.report.tables import mean_cells, p_value, side
from miracle_core.report.words import (
    absolute,
    amount,
    footing,
    in_short,
    metric_name,
    named,
    percent,
    shown,
    signs,
    signs_told,
    whole_percent,
)
from miracle_core.version import __version__

HEADINGS = {"as printed": "As printed", "seen-aware": "Seen-aware"}
_CSP = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class Paper:
    """What a paper prints for the data.

    Attributes:
        source: paper and table.
        rows: a metric's value by system, as the paper calls it.
    """

    source: str
    rows: Mapping[str, Mapping[str, float]]


def page(
    comparisons: Sequence[Comparison],
    *,
    studies: Sequence[Study] = (),
    paper: Paper | None = None,
    notes: Sequence[str] = (),
    more: str = "",
) -> str:
    """The whole page.

    Args:
        comparisons: one for each of the two columns that there are results of.
        studies: searches of settings.
        paper: figures to stand beside those as printed.
        notes: what a reader must know before all else.
        more: more HTML, about the runs of one system, before the section on what was measured.
    """
    first = comparisons[0]
    about = first.users.about
    names = list(dict.fromkeys(shown(own) for each in comparisons for own in each.systems))
    which = names[0] if len(names) == 1 else f"{len(names)} systems"
    if len(names) in (2, 3):
        which = f"{', '.join(names[:-1])} and {names[-1]}"
    title = f"{which} on {about.dataset}"
    runs = sum(len(own.runs) for each in comparisons for own in each.systems)
    lead = (
        f"{about.users:,} users, for each of whom {about.candidates:,} items are ranked; "
        f"{'test' if about.split == 'test' else 'validation'} items. "
        f"{runs} run{'s' if runs > 1 else ''}."
    )
    body = [
        f"<h1>{text(title)}</h1>",
        f'<p class="lead">{text(lead)}</p>',
        bullets([text(note) for note in notes]) if notes else "",
        _short(comparisons),
        _how_to_read(comparisons),
        *(_column(each, paper, len(comparisons) > 1) for each in comparisons),
        searches(studies),
        more,
        measured(comparisons, studies),
        f"<footer>Made by miracle report {text(__version__)}. Data: {text(about.dataset)}, "
        f"fingerprint {text(about.fingerprint[:16])}.</footer>",
    ]
    style = (files("miracle_core.report") / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"/>'
        f'<meta http-equiv="Content-Security-Policy" content="{_CSP}"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{text(title)}</title><style>\n{style}</style></head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body></html>\n"
    )


def _short(comparisons: Sequence[Comparison]) -> str:
    parts = []
    for each in comparisons:
        if len(comparisons) > 1:
            parts.append(f"<h3>{HEADINGS[each.column]}</h3>")
        parts.append(bullets([text(sentence) for sentence in in_short(each)]))
        parts.append(f'<p class="small">{text(footing(each))}</p>' if footing(each) else "")
    return f'<section class="box short"><h2>In short</h2>{"".join(parts)}</section>'


def _how_to_read(comparisons: Sequence[Comparison]) -> str:
    about = comparisons[0].users.about
    items = [
        f"<b>What was done.</b> Of each user one item was held out. A system ranked the "
        f"{about.candidates:,} items of the catalogue for the user's history before it. The higher "
        "the held-out item stands, the better.",
        "<b>Metrics.</b> With the held-out item at rank r, a user counts in Recall@K 1, in NDCG@K "
        "1/log<sub>2</sub>(r + 1) and in MRR@K 1/r, each 0 where r is beyond K. The metric is the "
        "mean over users, from 0 to 1.",
        *_of_intervals(comparisons),
    ]
    if any(len(each.systems) > 1 for each in comparisons):
        items += [
            "<b>Who is better</b> is told by the differences and their intervals, not by "
            "whether two systems' own intervals overlap: all systems served the same users, so "
            "differences are taken user by user and are surer than either mean. <b>Cannot be told "
            "apart</b>: the interval of the difference holds 0. The systems may be equal or not; "
            "these users and trainings do not show it.",
            *_of_tests(comparisons),
            "In tables the <b>best</b> mean is bold and the <u>second</u> underlined. That is an "
            "order of means and no claim.",
        ]
    if len(comparisons) > 1:
        items.append(
            "<b>As printed</b> and <b>seen-aware</b> are two ways to treat what a user had "
            "already. Their figures are never compared with each other."
        )
    return f'<section class="box"><h2>How to read this</h2>{bullets(items)}</section>'


def _of_intervals(comparisons: Sequence[Comparison]) -> list[str]:
    """What the intervals are, and which of these systems have other ones."""
    systems = {own.name: own for each in comparisons for own in each.systems}.values()
    fixed = [text(shown(own)) for own in systems if not own.about.seeded]
    single = [text(shown(own)) for own in systems if own.about.seeded and len(own.runs) == 1]
    clusters = any(each.clusters is not None for each in comparisons)
    units = "users (in clusters of those that belong together)" if clusters else "users"
    said = (
        f"<b>Intervals</b> (small numbers, whiskers) are 95 % t intervals. {units.capitalize()} "
        "and training seeds are both sources of variance: seeds of each system, independent of "
        "the other's, with Satterthwaite's degrees of freedom. They say how far figures may move "
        "with other users and other seeds of the same settings. Held fixed are the split, the "
        "training data and the settings: what these would change is in no interval."
    )
    if fixed:
        said += f" Training {named(fixed)} again gives the same, so users are all that can vary."
    if single:
        said += (
            f" Of {named(single)} there is one run, so these intervals are of users only and too "
            "narrow."
        )
    return [said]


def _of_tests(comparisons: Sequence[Comparison]) -> list[str]:
    """What a p-value and equality mean, where a claim was tested."""
    tests = [
        sum(found.adjusted_p is not None for found in each.against)
        for each in comparisons
        if each.proposed is not None
    ]
    if not any(tests):
        return []
    count = named([f"{own} comparisons" if own != 1 else "one comparison" for own in tests if own])
    return [
        "<b>p</b> is how often a difference this large or larger would come up between two "
        f"systems of equal means. It is corrected for {count} (Holm): below .05 we say better or "
        f"worse. <b>Equal</b> means: an equivalence test (two one-sided tests at .05, not "
        f"corrected) finds the two within {MARGIN * 100:g} % of each other. The "
        f"{MARGIN * 100:g} % are our choice of a difference too small to matter, made for all "
        "reports alike; nothing in the data sets it. What is neither better nor worse nor equal "
        "cannot be told apart: the corrected p decides that, so an interval, which is not "
        "corrected, may leave 0 out.",
    ]


def _kept_or_not(comparison: Comparison, paper: Paper | None, both: bool) -> str:
    """What the column does with the items of a history, and which systems lose by it."""
    if comparison.column == "as printed":
        paper_too = ", as the paper does whose figures stand below" if paper is not None else ""
        other = (
            "The other rule has a table of its own below."
            if both
            else "The other rule (seen-aware: the history is left out, or a gain of repeats is "
            "learned) makes a table of its own, which is not on this page."
        )
        return (
            f"The items of a user's history stay among the candidates{paper_too}. That costs "
            "places to systems that rank what is near to the history, most of all by text, "
            f"where nothing is nearer to it than its own items. {other}"
        )
    return (
        "What a user's history holds is left out of the candidates, or its score gains what was "
        "learned of repeats. This is nearer to use. Figures of papers that keep the history don't "
        "belong beside it."
    )


def _column(comparison: Comparison, paper: Paper | None, both: bool) -> str:
    says = _kept_or_not(comparison, paper, both)
    parts = [
        f"<h2>{HEADINGS[comparison.column]}</h2>",
        f"<p>{text(says)}</p>",
        _means(comparison),
        bars(comparison),
    ]
    if len(comparison.systems) > 1:
        parts += [_claims(comparison), forest(comparison), _metrics(comparison)]
    if len(comparison.systems) > 2:
        parts.append(_pairs(comparison))
    parts += [sliced(comparison, "history_length"), sliced(comparison, "target_popularity")]
    if paper is not None and comparison.column == "as printed":
        parts.append(_beside(comparison, paper))
    return f"<section>{''.join(parts)}</section>"


def _interval(found: Interval) -> str:
    return f"<small>{found.low:.4f} to {found.high:.4f}</small>"


def _reads(own: SystemRuns) -> str:
    """Which text vectors a system reads, below its name."""
    encoder = encoder_of(own)
    return "" if not encoder else f"<small>text vectors: {text(encoder)}</small>"


def _means(comparison: Comparison) -> str:
    marks = ("<strong>{}</strong>", "<u>{}</u>", "{}")
    several = len(comparison.systems) > 1
    rows = []
    for own, (name, runs, cells) in zip(comparison.systems, mean_cells(comparison), strict=True):
        means = comparison.means[name]
        rows.append(
            [
                f"<bdi>{text(shown(own))}</bdi>{_reads(own)}",
                text(runs),
                *(
                    (marks[place] if several else "{}").format(value)
                    + _interval(means[metric].interval)
                    for metric, (value, place) in zip(comparison.metrics, cells, strict=True)
                ),
            ]
        )
    heads = ["system", "runs", *(text(metric_name(metric)) for metric in comparison.metrics)]
    if several:
        return table(heads, rows)
    # One system: metrics below each other are easier to read than beside each other.
    return table(
        ["metric", "mean"], [list(pair) for pair in zip(heads[2:], rows[0][2:], strict=True)]
    )


def _others(comparison: Comparison) -> list[Against]:
    """The reference against the others, the highest of them first."""
    order = [own.name for own in comparison.ranked()]
    return sorted(comparison.against, key=lambda found: order.index(found.other))


def _claims(comparison: Comparison) -> str:
    """The reference against each other system by the primary metric; tests if it is a claim."""
    titles = {own.name: shown(own) for own in comparison.systems}
    claim = comparison.proposed is not None
    rows = []
    for found in _others(comparison):
        own, wins = found.differences[comparison.primary], found.wins["all"]
        size = amount(own)
        difference, ends = absolute(own)
        relative = own.relative_interval is not None
        tests = [p_value(found.adjusted_p), p_value(own.equal_p)] if claim else []
        rows.append(
            [
                f"<bdi>{text(titles[found.other])}</bdi>",
                text(found.verdict if claim else side(own)),
                f"{difference}<small>{ends}</small>",
                f"{size.signed}<small>{size.signed_span}</small>" if relative else "",
                *(text(each) for each in tests),
                f"{percent(wins['better'])} / {percent(wins['worse'])}"
                f"<small>neither: {percent(wins['neither'])}</small>",
            ]
        )
    metric, reference = metric_name(comparison.primary), text(titles[comparison.reference.name])
    k = comparison.primary.partition("@")[2]
    heads = ["against", "verdict" if claim else "the interval", "difference", "relative"]
    heads += ["p (Holm)", f"p (within {MARGIN * 100:g} %)"] if claim else []
    heads.append("users: better / worse")
    tested = (
        f"p (Holm): of no difference. p (within {MARGIN * 100:g} %): of a difference larger than "
        "that; where it is small, the two are equal. "
        if claim
        else ""
    )
    return (
        f"<h3>{reference} against each other system: {metric}</h3>{table(heads, rows, left=2)}"
        f'<p class="small">{tested}Better / worse: the shares of users whom {reference} serves '
        f"better or worse than the other system, by {metric}, averaged over seeds. Neither: "
        f"users whose held-out item is beyond rank {k} in both, who are most of those that both "
        "serve alike.</p>"
    )


def _metrics(comparison: Comparison) -> str:
    """The reference against each other system by every metric: differences, not claims."""
    titles = {own.name: shown(own) for own in comparison.systems}
    rows = []
    for found in _others(comparison):
        cells = []
        for metric in comparison.metrics:
            own = found.differences[metric]
            size = amount(own)
            cells.append(f"{size.signed}{signs(own)}<small>{size.signed_span}</small>")
        rows.append([f"<bdi>{text(titles[found.other])}</bdi>", *cells])
    reference = text(titles[comparison.reference.name])
    every = [own for found in comparison.against for own in found.differences.values()]
    heads = ["against", *(text(metric_name(metric)) for metric in comparison.metrics)]
    return (
        f"<h3>{reference} against each other system: every metric</h3>{table(heads, rows)}"
        f'<p class="small">Paired differences with 95 % intervals, in per cent of the other '
        f"system's mean (in the metric's own unit where that mean can't be told from 0). They "
        f"describe, and are not corrected for their number. {signs_told(every)}</p>"
    )


def _pairs(comparison: Comparison) -> str:
    """Every two systems by the primary metric, as a triangle."""
    ranked = comparison.ranked()
    every = [found for *_, found in comparison.pairs()]
    rows = []
    for place, one in enumerate(ranked[:-1]):
        cells = [""] * place
        for two in ranked[place + 1 :]:
            found = comparison.difference(one, two, comparison.primary)
            value, ends = absolute(found)
            cells.append(f"{value}{signs(found)}<small>{ends}</small>")
        rows.append([f"<bdi>{text(shown(one))}</bdi>", *cells])
    heads = ["the row less the column", *(f"<bdi>{text(shown(own))}</bdi>" for own in ranked[1:])]
    return (
        f"<h3>Every two systems: differences in {metric_name(comparison.primary)}</h3>"
        + table(heads, rows)
        + f'<p class="small">Systems in the order of their means. Paired differences with 95 % '
        f"intervals. They describe, and are not corrected for being {len(every)}: of 20 intervals "
        f"between equal systems about one leaves 0 out. {signs_told(every)}</p>"
    )


def _beside(comparison: Comparison, paper: Paper) -> str:
    """The paper's figures and ours, with how far ours lie from them."""
    metrics = [
        metric for metric in comparison.metrics if any(metric in row for row in paper.rows.values())
    ]
    ours = {shown(own).casefold(): own for own in comparison.systems}
    rows = []
    for name, printed in paper.rows.items():
        own = ours.pop(name.casefold(), None)
        cells = []
        for metric in metrics:
            theirs = printed.get(metric)
            found = None if own is None else comparison.means[own.name][metric]
            cells += [
                NONE if theirs is None else f"{theirs:.4f}",
                NONE if found is None else f"{found.value:.4f}{_apart(found, theirs)}",
            ]
        rows.append([text(name), *cells])
    for own in ours.values():
        cells = []
        for metric in metrics:
            cells += [NONE, f"{comparison.means[own.name][metric].value:.4f}"]
        rows.append([text(shown(own)), *cells])
    heads = ["system"]
    for metric in metrics:
        heads += [f"{metric_name(metric)}<br/>printed", "<br/>ours"]
    return (
        f"<h3>Beside the paper</h3><p>{text(paper.source)}. Small: ours against the printed "
        f"figure, with {_OUTSIDE} where that lies outside our 95 % interval (of the table of means "
        "above; the paper prints none). Its text encoder, seeds and search of settings may be "
        f"other than ours, so a difference is no test. {NONE}: not run here, or not in the "
        "paper.</p>" + table(heads, rows)
    )


_OUTSIDE = "*"


def _apart(ours: Mean, printed: float | None) -> str:
    """How far our figure lies from a printed one."""
    if not printed:
        return ""
    far = not ours.interval.low <= printed <= ours.interval.high
    return (
        f"<small>{whole_percent(ours.value / printed - 1)}{f' {_OUTSIDE}' if far else ''}</small>"
    )
