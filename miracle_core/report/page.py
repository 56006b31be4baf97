"""One self-contained HTML page of a comparison, or of one system.

Nothing is loaded from elsewhere, there are no scripts, and all text is escaped. The same input
gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from miracle_core.evaluation.user_results import About
from miracle_core.report.charts import Study, bars, forest, searches, sliced
from miracle_core.report.comparison import Comparison
from miracle_core.report.markup import bullets, table, text
from miracle_core.report.statistics import MARGIN, Interval
from miracle_core.report.systems import SystemRuns, column, rules_in_words
from miracle_core.report.tables import mean_cells, p_value
from miracle_core.report.words import amount, footing, in_short, metric_name, shown
from miracle_core.version import __version__

COLUMNS = {
    "as printed": (
        "As printed",
        "The items of a user's history stay among the candidates, as in most papers' tables. "
        "A system that offers again what was just bought loses places by it.",
    ),
    "seen-aware": (
        "Seen-aware",
        "What a user's history holds is left out of the candidates, or its score gains what was "
        "learned of repeats. This is nearer to use. Figures of papers don't belong beside it.",
    ),
}
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
        more: HTML about the one run, at the end.
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
        f"{about.users:,} users, {about.candidates:,} items to choose from, "
        f"{'test' if about.split == 'test' else 'validation'} part. "
        f"{runs} run{'s' if runs > 1 else ''}."
    )
    body = [
        f"<h1>{text(title)}</h1>",
        f'<p class="lead">{text(lead)}</p>',
        bullets([text(note) for note in notes]) if notes else "",
        _short(comparisons),
        _how_to_read(comparisons),
        *(_column(each, paper) for each in comparisons),
        searches(studies),
        more,
        _what(comparisons),
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
            parts.append(f"<h3>{COLUMNS[column(each.users.about)][0]}</h3>")
        parts.append(bullets([text(sentence) for sentence in in_short(each)]))
        parts.append(f'<p class="small">{text(footing(each))}</p>' if footing(each) else "")
    return f'<section class="box short"><h2>In short</h2>{"".join(parts)}</section>'


def _how_to_read(comparisons: Sequence[Comparison]) -> str:
    about = comparisons[0].users.about
    several = any(len(each.systems) > 1 for each in comparisons)
    items = [
        f"<b>What was done.</b> Of each user one item was held out. A system ranked the "
        f"{about.candidates:,} items of the catalogue for the user's history before it. The higher "
        "the held-out item stands, the better.",
        "<b>Recall@10</b> is the share of users whose item is among the first ten. <b>NDCG@10</b> "
        "and <b>MRR@10</b> also say how high it stands. All go from 0 to 1.",
        "<b>Intervals</b> (small numbers, whiskers) hold the true mean in 95 of 100 cases: other "
        "users and other training seeds would give other figures. Of a system with one run they "
        "are of users only, and too narrow.",
    ]
    if several:
        items += [
            "<b>Who is better</b> is told by the differences and their intervals, not by "
            "whether two systems' own intervals overlap: all systems served the same users, so "
            "differences are taken user by user and are surer than either mean.",
            "<b>p</b> is how often a difference this large or larger would come up between two "
            "equal systems. It is corrected for the number of comparisons. Below .05 we say better "
            f"or worse. <b>Equal</b> means: surely within {MARGIN * 100:g} % of each other. "
            "<b>Cannot be told apart</b> is neither: more seeds or users would be needed.",
            "In tables the <b>best</b> mean is bold and the <u>second</u> underlined. That is an "
            "order of means and no claim.",
        ]
    if len(comparisons) > 1:
        items.append(
            "<b>As printed</b> and <b>seen-aware</b> are two ways to treat what a user had "
            "already. Their figures are never compared with each other."
        )
    return f'<section class="box"><h2>How to read this</h2>{bullets(items)}</section>'


def _column(comparison: Comparison, paper: Paper | None) -> str:
    kind = column(comparison.users.about)
    heading, says = COLUMNS[kind]
    parts = [f"<h2>{heading}</h2>", f"<p>{text(says)}</p>", _means(comparison), bars(comparison)]
    if len(comparison.systems) > 1:
        parts += [_claims(comparison), forest(comparison)]
    parts += [sliced(comparison, "history_length"), sliced(comparison, "target_popularity")]
    if paper is not None and kind == "as printed":
        parts.append(_beside(comparison, paper))
    return f"<section>{''.join(parts)}</section>"


def _interval(found: Interval) -> str:
    return f"<small>{found.low:.4f} to {found.high:.4f}</small>"


def _means(comparison: Comparison) -> str:
    marks = ("<strong>{}</strong>", "<u>{}</u>", "{}")
    several = len(comparison.systems) > 1
    rows = []
    for own, (name, runs, cells) in zip(comparison.systems, mean_cells(comparison), strict=True):
        means = comparison.means[name]
        rows.append(
            [
                f"<bdi>{text(shown(own))}</bdi>",
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


def _claims(comparison: Comparison) -> str:
    titles = {own.name: shown(own) for own in comparison.systems}
    rows = []
    for found in comparison.against:
        own, wins = found.differences[comparison.primary], found.wins["all"]
        size = amount(own)
        absolute = f"{own.interval.low:+.4f} to {own.interval.high:+.4f}"
        relative = own.relative_interval is not None
        rows.append(
            [
                f"<bdi>{text(titles[found.other])}</bdi>",
                text(found.verdict),
                f"{own.difference:+.4f}<small>{absolute}</small>",
                f"{size.signed}<small>{size.signed_span}</small>" if relative else "",
                p_value(found.adjusted_p).replace("<", "&lt;"),
                p_value(own.equal_p if comparison.proposed else None).replace("<", "&lt;"),
                f"{wins['better']:.1%}<small>{wins['worse']:.1%} worse</small>",
            ]
        )
    metric, reference = metric_name(comparison.primary), text(titles[comparison.reference.name])
    heads = [
        "against",
        f"{reference} is",
        "difference",
        "relative",
        "p (Holm)",
        f"p (within {MARGIN * 100:g} %)",
        "users served better",
    ]
    return (
        f"<h3>{reference} against each other system: {metric}</h3>{table(heads, rows, left=2)}"
        f'<p class="small">p (Holm): of no difference. p (within {MARGIN * 100:g} %): of a '
        "difference larger than that; where it is small, the two are equal. Users served better or "
        f"worse: by {metric}, averaged over seeds; all others are served alike.</p>"
    )


def _beside(comparison: Comparison, paper: Paper) -> str:
    metrics = [
        metric for metric in comparison.metrics if any(metric in row for row in paper.rows.values())
    ]
    ours = {shown(own).casefold(): own for own in comparison.systems}
    rows = []
    for name, printed in paper.rows.items():
        own = ours.pop(name.casefold(), None)
        cells = []
        for metric in metrics:
            theirs = f"{printed[metric]:.4f}" if metric in printed else ""
            if own is None:
                cells += [theirs, ""]
                continue
            found = comparison.means[own.name][metric]
            cells += [theirs, f"{found.value:.4f}"]
        rows.append([text(name), *cells])
    for own in ours.values():
        cells = []
        for metric in metrics:
            found = comparison.means[own.name][metric]
            cells += ["", f"{found.value:.4f}"]
        rows.append([text(shown(own)), *cells])
    heads = ["system"]
    for metric in metrics:
        heads += [f"{metric_name(metric)}<br/>printed", "<br/>ours"]
    return (
        f"<h3>Beside the paper</h3><p>{text(paper.source)}. The intervals of ours are above; "
        "the paper prints none. Its text encoder, seeds and search of settings may be other "
        "than ours, so a difference is no test.</p>" + table(heads, rows)
    )


def _under_rules(about: About) -> str:
    return f"{about.seen}; rules of a shop: {rules_in_words(about)}"


def _what(comparisons: Sequence[Comparison]) -> str:
    """Every run: what it is, and the settings that tell systems of one kind apart."""
    rows = []
    for each in comparisons:
        for own in each.systems:
            about = own.about
            # A system that is fitted at once has epoch 0.
            epochs = [str(run.about.epoch or "none") for run in own.runs]
            rows.append(
                [
                    f"<bdi>{text(shown(own))}</bdi>",
                    text(about.model),
                    text(about.seen if about.rules is None else _under_rules(about)),
                    text(about.trained_seen),
                    text(", ".join(map(str, own.seeds)) if about.seeded else "none needed"),
                    text(", ".join(epochs)),
                    text(_apart(own, each.systems)),
                ]
            )
    heads = [
        *("system", "kind", "seen rule in ranking", "in training"),
        *("seeds", "best epochs", "settings of its own"),
    ]
    return (
        "<section><h2>What was measured</h2>"
        + table(heads, rows, left=len(heads))
        + "<p>Settings of its own: those in which systems of one kind differ. Every run's folder "
        "holds all of its settings.</p></section>"
    )


def _apart(own: SystemRuns, systems: Sequence[SystemRuns]) -> str:
    """The settings in which a system differs from others of its kind."""
    others: list[Mapping[str, Any]] = [
        each.about.settings
        for each in systems
        if each is not own and each.about.model == own.about.model
    ]
    mine = own.about.settings
    names = sorted({n for other in others for n in mine if other.get(n) != mine[n]})
    return ", ".join(f"{name} = {mine[name]}" for name in names)
