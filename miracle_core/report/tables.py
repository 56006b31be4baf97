"""A comparison as text: Markdown, LaTeX, CSV. The best of each metric stands out."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable

from miracle_core.report.comparison import Comparison
from miracle_core.report.statistics import MARGIN, Difference, Interval

Cell = tuple[str, int]  # a text, and its place: 0 the best, 1 the second, others 2

ENOUGH = 5  # seeds; with fewer, a claim rests on little

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def mean_cells(comparison: Comparison) -> list[tuple[str, str, list[Cell]]]:
    """A row for each system: its name, its runs, its means in the order of the metrics."""
    places = {metric: _places(comparison, metric) for metric in comparison.metrics}
    return [
        (
            system.name,
            _runs(len(system.runs), system.about.seeded),
            [
                (f"{means[metric].value:.4f}", places[metric][system.name])
                for metric in comparison.metrics
            ],
        )
        for system in comparison.systems
        for means in (comparison.means[system.name],)
    ]


def _runs(runs: int, seeded: bool) -> str:
    return f"{runs}" if seeded else "no seed"


def _places(comparison: Comparison, metric: str) -> dict[str, int]:
    """0 for the best system, 1 for the second; equal means share a place."""
    values = {system.name: comparison.means[system.name][metric].value
              for system in comparison.systems}  # fmt: skip
    ranked = sorted(set(values.values()), reverse=True)
    return {name: min(ranked.index(value), 2) for name, value in values.items()}


def claim_columns(comparison: Comparison) -> list[str]:
    """The headings of :func:`claim_rows`; p-values stand there only if a claim was named."""
    tests = ["p (Holm)", f"p (within {MARGIN * 100:g} %)"] if comparison.proposed else []
    last = "verdict" if comparison.proposed else "the interval"
    return ["difference", "value", "95 % interval", "relative", "95 % interval of it", *tests, last]


def claim_rows(comparison: Comparison) -> list[list[str]]:
    """The reference against each other system on the primary metric, as text."""
    rows = []
    for found in comparison.against:
        own = found.differences[comparison.primary]
        tests = [p_value(found.adjusted_p), p_value(own.equal_p)] if comparison.proposed else []
        rows.append(
            [
                f"{comparison.reference.name} - {found.other}",
                f"{own.difference:+.4f}",
                interval(own.interval),
                *_relative(own),
                *tests,
                _verdict(found.verdict, own.both) if comparison.proposed else side(own),
            ]
        )
    return rows


def _relative(own: Difference) -> list[str]:
    """The relative difference and its interval; blank where the other mean may be 0."""
    if own.relative is None or own.relative_interval is None:
        return ["", ""]
    return [percent(own.relative), percents(own.relative_interval)]


def _verdict(verdict: str, both: bool) -> str:
    return verdict if both else "no claim: one seed, the interval is of users only"


def side(found: Difference) -> str:
    """Where an interval lies, without a claim."""
    said = {1: "above 0", 0: "holds 0: cannot be told apart", -1: "below 0"}[found.side]
    return said if found.both else f"{said}; one seed, of users only"


def percent(value: float) -> str:
    """A share with its sign: ``+12.3 %``."""
    return f"{value * 100:+.1f} %"


def percents(found: Interval) -> str:
    """Both ends of an interval of shares with their signs."""
    return f"[{found.low * 100:+.1f}, {found.high * 100:+.1f}] %"


def interval(found: Interval) -> str:
    """Both ends of an interval with their signs."""
    return f"[{found.low:+.4f}, {found.high:+.4f}]"


def p_value(p: float | None) -> str:
    """A p-value, or nothing where there is none."""
    if p is None:
        return ""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def title(comparison: Comparison) -> str:
    """What was compared on what, in one line."""
    about = comparison.document()
    clusters = "" if about["clusters"] is None else f" in {about['clusters']:,} clusters"
    return (
        f"{about['dataset']} ({about['split']}), {about['column']}: {about['users']:,} users"
        f"{clusters}, {about['candidates']:,} candidates"
    )


def claim_words(comparison: Comparison) -> str:
    """What is claimed, in one sentence."""
    few = [
        f"{system.name} ({len(system.runs)})"
        for system in comparison.systems
        if system.about.seeded and len(system.runs) < ENOUGH
    ]
    seeds = f" Fewer than {ENOUGH} seeds: {', '.join(few)}." if few else ""
    if comparison.proposed is None:
        return (
            "No hypothesis was fixed beforehand, so there is no test: the figures describe, and "
            f"intervals are not corrected for their number.{seeds}"
        )
    if all(found.adjusted_p is None for found in comparison.against):
        return (
            f"The claim is {comparison.primary} of {comparison.proposed}. Each test of it needs "
            "two runs or more of a system, so no claim is made and all figures are descriptive."
        )
    return (
        f"The one claim is {comparison.primary} of {comparison.proposed} against every other "
        f"system; all other figures are descriptive.{seeds}"
    )


def markdown(comparison: Comparison) -> str:
    """Both tables as Markdown: the best in bold, the second underlined."""
    marks: tuple[Callable[[str], str], ...] = (
        lambda text: f"**{text}**",
        lambda text: f"<u>{text}</u>",
        str,
    )
    means = [
        [markdown_text(name), runs, *(marks[place](text) for text, place in cells)]
        for name, runs, cells in mean_cells(comparison)
    ]
    claims = [[markdown_text(cell) for cell in row] for row in claim_rows(comparison)]
    parts = [
        f"### {markdown_text(title(comparison))}",
        markdown_table(["system", "runs", *comparison.metrics], means),
        f"{markdown_text(claim_words(comparison))} Primary metric: {comparison.primary}.",
        markdown_table(claim_columns(comparison), claims),
    ]
    return "\n\n".join(parts) + "\n"


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))


def markdown_table(columns: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown of cells that are Markdown already."""
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def latex(comparison: Comparison) -> str:
    """Both tables as LaTeX (packages booktabs): the best in bold, the second underlined."""
    marks = (r"\textbf{{{}}}", r"\underline{{{}}}", "{}")
    means = [
        [latex_text(name), latex_text(runs), *(marks[place].format(text) for text, place in cells)]
        for name, runs, cells in mean_cells(comparison)
    ]
    claims = [[latex_text(cell) for cell in row] for row in claim_rows(comparison)]
    metrics = [latex_text(metric) for metric in comparison.metrics]
    return "\n".join(
        [
            f"% {' '.join(title(comparison).split())}",
            latex_table(["system", "runs", *metrics], means),
            f"% {' '.join(claim_words(comparison).split())}",
            latex_table([latex_text(name) for name in claim_columns(comparison)], claims),
        ]
    )


def latex_text(text: str) -> str:
    """Text that LaTeX shows as it is, on one line."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def latex_table(columns: list[str], rows: list[list[str]]) -> str:
    """A table in LaTeX (package booktabs) of cells that are LaTeX already."""
    body = [f"{' & '.join(row)} \\\\" for row in rows]
    if not rows:
        return ""
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
            r"\toprule",
            rf"{' & '.join(columns)} \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def as_csv(comparison: Comparison) -> str:
    """Every mean and difference with its interval, one a line, for other programs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["metric", "system", "against", "value", "low", "high", "relative", "relative_low",
         "relative_high", "p_holm", "p_equal", "both_sources"]
    )  # fmt: skip
    for metric in comparison.metrics:
        for system in comparison.systems:
            own = comparison.means[system.name][metric]
            ends = [own.interval.low, own.interval.high]
            writer.writerow([metric, system.name, "", own.value, *ends, *[""] * 5, own.both])
        for found in comparison.against:
            each = found.differences[metric]
            claimed = comparison.proposed is not None and metric == comparison.primary
            relative = each.relative_interval
            writer.writerow(
                [
                    metric,
                    comparison.reference.name,
                    found.other,
                    each.difference,
                    each.interval.low,
                    each.interval.high,
                    each.relative,
                    relative and relative.low,
                    relative and relative.high,
                    found.adjusted_p if claimed else None,
                    each.equal_p if claimed else None,
                    each.both,
                ]
            )
    return out.getvalue()
