"""``miracle report``: one HTML page of a run or of several systems, or their tables as text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from miracle_cli.claim import Clusters, Primary, Proposed, SplitName, split_named
from miracle_cli.output import message, printing
from miracle_cli.seen import Seen, seen_option
from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.config import SeenRule
    from miracle_core.data.dataset import Split
    from miracle_core.report.charts import Study
    from miracle_core.report.comparison import Comparison
    from miracle_core.report.page import Paper

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Form(StrEnum):
    """What a report is written as."""

    html = "html"
    md = "md"
    tex = "tex"
    csv = "csv"


@app.command()
def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN_OR_USERS...",
            help="Runs, folders of seed-N runs, folders of miracle experiment, or files of miracle "
            "evaluate --save-users; one or several.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The file to write [default: report.html; other forms: print]."),
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option("--format", help="html, md, tex or csv [default: as --out ends, or html]."),
    ] = None,
    studies: Annotated[
        list[Path] | None,
        typer.Option(
            "--study",
            metavar="DIR",
            help="The folder of a miracle tune: best validation against trials (repeatable).",
        ),
    ] = None,
    primary: Primary = None,
    proposed: Proposed = None,
    split: SplitName = None,
    seen: Seen = None,
    clusters: Clusters = None,
) -> None:
    """Write a report: who is better, by how much, how sure that is; or one system in depth.

    Runs whose settings differ in the seed only are one system, as in miracle compare. Results as
    printed and seen-aware ones become two parts that are never mixed.
    """
    part = None if split is None else split_named(split)
    rule = seen_option(seen)
    if out is not None and out.is_dir():
        raise InputError("is a folder", where=f"--out {out}", remedy="name a file")
    form = _form(out, form)
    if out is None and form is Form.html:
        out = Path("report.html")
    read = [_study(folder) for folder in studies or []]
    found, notes = _comparisons(paths, part, rule, primary, proposed, clusters)
    for note in notes:
        message(note)
    content = _content(form, found, paths, read, notes)
    if out is None:
        with printing():
            sys.stdout.write(content)
        return
    from miracle_core.files import write_text

    write_text(out, content)
    message(f"written to {out}")


def _form(out: Path | None, form: Form | None) -> Form:
    ending = "" if out is None else out.suffix.lower().removeprefix(".")
    by_name = {"htm": "html", "markdown": "md"}.get(ending, ending)
    if form is not None:
        return form
    if out is None or by_name in {each.value for each in Form}:
        return Form(by_name or "html")
    raise InputError(
        "does not say by its name what to write",
        where=f"--out {out}",
        remedy="end it in .html, .md, .tex or .csv, or say --format",
    )


def _study(folder: Path) -> Study:
    from miracle_core.registry import system
    from miracle_core.report.charts import Study
    from miracle_core.tuning.records import read_record, read_trials

    about = read_record(folder)
    values = [None if value != value else float(value) for value in read_trials(folder)["value"]]
    try:
        name = system(about.system).title
    except InputError:  # registered by a program that isn't at work here
        name = about.system
    return Study(name, about.metric, tuple(values))


def _comparisons(
    paths: Sequence[Path],
    split: Split | None,
    rule: SeenRule | None,
    primary: str | None,
    proposed: str | None,
    clusters: Path | None,
) -> tuple[list[Comparison], tuple[str, ...]]:
    """One for each column that there are results of, as printed first; and what to know of them."""
    from miracle_cli.progress import RichProgress
    from miracle_core.experiments.sources import sources_of
    from miracle_core.report.clusters import read_clusters
    from miracle_core.report.comparison import PRIMARY, Comparison
    from miracle_core.report.systems import check_comparable, column, grouped

    gathered = sources_of(paths, split, rule, progress=RichProgress(), told=message)
    columns = [
        [source for source in gathered.sources if column(source.results.about) == kind]
        for kind in ("as printed", "seen-aware")
    ]
    for sources in filter(None, columns):
        # First, so that two Datasets are told as that, and not as one seed given twice.
        check_comparable([source.results for source in sources])
    own = [grouped(each) for each in columns if each]
    names = list(dict.fromkeys(each.name for systems in own for each in systems))
    if proposed is not None and proposed not in names:
        raise InputError(
            "is none of the systems",
            where=f"--proposed {proposed}",
            remedy=f"choose one of {', '.join(names)}",
        )
    # Both columns stand on one page, so they are of one Dataset and split too.
    firsts = [systems[0].runs[0] for systems in own]
    if len(firsts) > 1:
        one, two = (
            (each.about.dataset, each.about.fingerprint[:16], each.about.split) for each in firsts
        )
        if one != two:
            raise InputError(
                f"are of different Datasets or splits: {' '.join(one)} and {' '.join(two)}",
                where=f"{firsts[0].where} and {firsts[1].where}",
                remedy="make a report for each",
            )
    found = []
    for systems in own:
        together = None
        if clusters is not None:
            together = read_clusters(clusters, systems[0].runs[0].user_ids)
        there = {each.name for each in systems}
        wanted = gathered.proposed if proposed is None else (proposed,)
        claimed = next((name for name in wanted if name in there), None)
        metric = primary or gathered.primary or PRIMARY
        found.append(
            Comparison(systems, primary=metric, proposed=claimed, clusters=together, alone=True)
        )
    return found, gathered.notes


def _content(
    form: Form,
    found: Sequence[Comparison],
    paths: Sequence[Path],
    studies: Sequence[Study],
    notes: Sequence[str],
) -> str:
    from miracle_core.report import tables
    from miracle_core.report.page import page

    if form is Form.html:
        more = ""
        if len(found) == 1 and len(found[0].systems) == 1:
            more = _details(found[0], paths)
        return page(found, studies=studies, paper=_paper(found), notes=notes, more=more)
    makers = {Form.md: tables.markdown, Form.tex: tables.latex, Form.csv: tables.as_csv}
    parts = [makers[form](each) for each in found]
    if form is Form.csv:
        # One table: the second one's heading goes.
        parts[1:] = [part.partition("\n")[2] for part in parts[1:]]
    return ("" if form is Form.csv else "\n").join(parts)


def _details(found: Comparison, paths: Sequence[Path]) -> str:
    """What the runs of the one system tell; nothing where files are all there is."""
    from miracle_cli.progress import RichProgress
    from miracle_core.report.details import details
    from miracle_core.runs.folder import RunFolder

    runs = [
        folder
        for path in paths
        if path.is_dir()
        for folder in ([path] if RunFolder(path).config.is_file() else sorted(path.glob("seed-*")))
        if RunFolder(folder).config.is_file()
    ]
    if not runs:
        return ""
    about = found.users.about
    return details(runs, about.split, about.seen, RichProgress())


def _paper(found: Sequence[Comparison]) -> Paper | None:
    """The paper's table 2, where the data is one of the paper's by name and counts."""
    from miracle_core.experiments import paper
    from miracle_core.report.page import Paper

    about = found[0].users.about
    counts = paper.counts(about.dataset)
    if counts is None or about.split != "test":
        return None
    if (counts.users, counts.items) != (about.users, about.candidates):
        message(
            f"the paper's {counts.name} has {counts.users:,} users and {counts.items:,} items, "
            f"this one {about.users:,} and {about.candidates:,}: the paper's figures are left out"
        )
        return None
    rows = paper.rows("table2", about.dataset)
    source = f"Tang et al., SIGIR 2023, table 2, {counts.name}"
    return Paper(source, rows) if rows else None
