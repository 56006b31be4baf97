"""What an experiment found, as text: a table a Dataset and column, and the claim below.

Everything here is made from ``experiment.json`` alone, so the files can be made again from it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miracle_core.experiments.plan import Unavailable, reasons
from miracle_core.report.statistics import Interval
from miracle_core.report.tables import (
    interval,
    latex_table,
    latex_text,
    markdown_table,
    markdown_text,
    p_value,
    percent,
    percents,
)

Found = Mapping[str, Any]
Cell = tuple[str, int]  # a text, and its place: 0 the best, 1 the second, others 2
QUICK = "A quick trial: few epochs, small systems, one seed. The figures mean nothing."
CLAIM = (
    "proposed - other",
    "data",
    "difference",
    "95 % interval",
    "relative",
    "95 % interval of it",
    "p (Holm)",
    "verdict",
)


@dataclass(frozen=True)
class Row:
    """One system in one table.

    Attributes:
        name: its name.
        runs: how many seeds, or ``no seed``.
        cells: for each metric the mean with half of its 95 % interval, and the system's place.
        paper: the paper's figure for each metric; empty where it prints none.
    """

    name: str
    runs: str
    cells: list[Cell]
    paper: list[str]


def rows(found: Found, table: Found) -> list[Row]:
    """The rows of one table.

    Args:
        found: what ``experiment.json`` holds.
        table: one of its ``tables``.
    """
    systems = table["comparison"]["systems"]
    made = []
    for system in systems:
        cells, printed = [], []
        for metric in found["metrics"]:
            own = system["metrics"][metric]
            half = (own["interval"]["high"] - own["interval"]["low"]) / 2
            ranked = sorted({each["metrics"][metric]["value"] for each in systems}, reverse=True)
            place = min(ranked.index(own["value"]), 2)
            cells.append((f"{own['value']:.4f} ± {half:.4f}", place))
            theirs = table["paper"].get(system["name"], {}).get(metric)
            printed.append("" if theirs is None else f"{theirs:.4f}")
        runs = str(len(system["seeds"])) if system["seeded"] else "no seed"
        made.append(Row(system["name"], runs, cells, printed))
    return made


def columns(found: Found, table: Found) -> list[str]:
    """The headings of one table; if the paper has figures, they follow ours."""
    names = ["system", "runs"]
    for metric in found["metrics"]:
        names += [metric, "paper"] if table["paper"] else [metric]
    return names


def lines(
    found: Found, table: Found, marks: Sequence[Callable[[str], str]], text: Callable[[str], str]
) -> list[list[str]]:
    """The cells of one table.

    Args:
        found: what ``experiment.json`` holds.
        table: one of its ``tables``.
        marks: how the best, the second, and any other cell are written.
        text: how any text is written.
    """
    made = []
    for row in rows(found, table):
        line = [text(row.name), text(row.runs)]
        for (cell, place), printed in zip(row.cells, row.paper, strict=True):
            own = marks[place](text(cell))
            line += [own, text(printed)] if table["paper"] else [own]
        made.append(line)
    return made


def title(table: Found) -> str:
    """The title of a table: data, split, column, users and candidates."""
    about = table["comparison"]
    return (
        f"{about['dataset']} ({about['split']}), {table['column']}: {about['users']:,} users, "
        f"{about['candidates']:,} candidates"
    )


def claim_rows(claim: Found) -> list[list[str]]:
    """One claim's tests as text, in the order of :data:`CLAIM`."""
    made = []
    for row in claim["rows"]:
        relative = row["relative_interval"]
        made.append(
            [
                f"{row['proposed']} - {row['other']}",
                row["data"],
                f"{row['difference']:+.4f}",
                interval(Interval(*row["interval"])),
                "" if row["relative"] is None else percent(row["relative"]),
                "" if relative is None else percents(Interval(*relative)),
                p_value(row["adjusted_p"]),
                row["verdict"]
                if row["both"] or not claim["tests"]
                else "no claim: one seed, the interval is of users only",
            ]
        )
    return made


def claim_title(claim: Found) -> str:
    """What is claimed, in one sentence."""
    if not claim["tests"]:
        return (
            f"No claim is made of {claim['primary']} ({claim['column']}): each test needs "
            "at least two seeds of a system. The differences:"
        )
    return (
        f"The one claim of this column ({claim['column']}): {claim['primary']} of the proposed "
        f"system against every other on every Dataset; Holm over {claim['tests']} tests. All other "
        "figures are descriptive."
    )


def searched(tuned: Mapping[str, int]) -> str:
    """Which rows have settings that were searched for, and by how many trials each."""
    rows = ", ".join(f"{name} ({trials} trials)" for name, trials in tuned.items())
    return (
        f"Settings were searched on validation data for {rows}; the other rows have those of the "
        "experiment or their defaults, and no search."
    )


def notes(found: Found) -> list[str]:
    """What a reader must know: how the intervals were made, and what is missing."""
    said = [QUICK] if found["quick"] else []
    if found.get("tuned"):  # not kept by an older version
        said.append(searched(found["tuned"]))
    if found["tables"]:
        said.append("± is half of the 95 % interval, over users and seeds.")
    if any(
        system["seeded"] and len(system["seeds"]) == 1
        for table in found["tables"]
        for system in table["comparison"]["systems"]
    ):
        said.append("Where a system has one run, its interval is of users only.")
    if any(table["column"] == "seen-aware" for table in found["tables"]):
        said.append(
            "Seen-aware: items of the history gain a learned number, and systems that learn none "
            "leave them out."
        )
    if any(table["paper"] for table in found["tables"]):
        said.append("The paper ranks as printed, and its figures stand in that column alone.")
    left_out = [Unavailable(**each) for each in found["unavailable"]]
    return said + [f"Not in the tables: {why}." for why in reasons(left_out)]


def activation_lines(found: Found) -> list[list[str]]:
    """How many capsules users activate: a row a run."""
    return [
        [
            each["system"],
            each["data"],
            str(each["seed"]),
            f"{each['mean']:.2f}",
            f"{each['in_use']} of {len(each['counts'][0])}",
        ]
        for each in found["activations"]
    ]


ACTIVATIONS = ("system", "data", "seed", "active a user", "in use")


def markdown(found: Found) -> str:
    """Everything as Markdown: the best in bold, the second underlined."""
    marks: tuple[Callable[[str], str], ...] = (
        lambda text: f"**{text}**",
        lambda text: f"<u>{text}</u>",
        str,
    )
    parts = [f"# {markdown_text(found['title'] or found['experiment'])}"]
    if found["about"]:
        parts.append(markdown_text(found["about"]))
    for table in found["tables"]:
        parts.append(f"## {markdown_text(title(table))}")
        cells = lines(found, table, marks, markdown_text)
        parts.append(markdown_table(columns(found, table), cells))
    for claim in found["claims"]:
        parts.append(markdown_text(claim_title(claim)))
        cells = [[markdown_text(cell) for cell in row] for row in claim_rows(claim)]
        parts.append(markdown_table(list(CLAIM), cells))
    if found["activations"]:
        cells = [[markdown_text(cell) for cell in row] for row in activation_lines(found)]
        parts += ["## Active capsules", markdown_table(list(ACTIVATIONS), cells)]
    parts += ["\n".join(f"- {markdown_text(note)}" for note in notes(found))]
    return "\n\n".join(part for part in parts if part) + "\n"


def latex(found: Found) -> str:
    """Everything as LaTeX (package booktabs): the best in bold, the second underlined."""
    marks: tuple[Callable[[str], str], ...] = (
        lambda text: rf"\textbf{{{text}}}",
        lambda text: rf"\underline{{{text}}}",
        str,
    )
    parts = [f"% {' '.join((found['title'] or found['experiment']).split())}"]
    for table in found["tables"]:
        parts.append(f"% {' '.join(title(table).split())}")
        heads = [latex_text(name) for name in columns(found, table)]
        parts.append(latex_table(heads, lines(found, table, marks, _latex_cell)))
    for claim in found["claims"]:
        parts.append(f"% {' '.join(claim_title(claim).split())}")
        cells = [[_latex_cell(cell) for cell in row] for row in claim_rows(claim)]
        parts.append(latex_table([latex_text(name) for name in CLAIM], cells))
    parts += [f"% {' '.join(note.split())}" for note in notes(found)]
    return "\n".join(parts) + "\n"


def _latex_cell(text: str) -> str:
    return latex_text(text).replace("±", r"$\pm$")


def as_csv(found: Found) -> str:
    """Every mean with its interval, one a line, for other programs."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["experiment", "data", "column", "system", "runs", "metric", "value", "low", "high",
         "both_sources", "paper"]
    )  # fmt: skip
    for table in found["tables"]:
        for system in table["comparison"]["systems"]:
            printed = table["paper"].get(system["name"], {})
            for metric, own in sorted(system["metrics"].items()):
                writer.writerow(
                    [
                        found["experiment"],
                        table["data"],
                        table["column"],
                        system["name"],
                        len(system["seeds"]),
                        metric,
                        own["value"],
                        own["interval"]["low"],
                        own["interval"]["high"],
                        own["both"],
                        printed.get(metric),
                    ]
                )
    return out.getvalue()
