"""``miracle compare``: systems side by side, and how sure their differences are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from miracle_cli.claim import Clusters, Primary, Proposed, SplitName, split_named
from miracle_cli.output import message, print_json, print_table
from miracle_cli.seen import Seen, seen_option
from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.report.comparison import Comparison

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def compare(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B [C...]",
            help="Runs, folders of seed-N runs, a column of miracle experiment, or files of "
            "miracle evaluate --save-users.",
        ),
    ],
    primary: Primary = None,
    proposed: Proposed = None,
    split: SplitName = None,
    seen: Seen = None,
    clusters: Clusters = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the tables to this file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare systems on the same users: means, differences, intervals.

    Runs whose settings differ in the seed only are one system. Users and seeds are both sources of
    variance; with one seed there is an interval for users only, and no claim.
    """
    part = None if split is None else split_named(split)
    rule = seen_option(seen)
    files = {"--markdown": markdown, "--latex": latex, "--csv": csv}
    for option, path in files.items():
        if path is not None and path.is_dir():
            raise InputError("is a folder", where=f"{option} {path}", remedy="name a file")
    from miracle_cli.progress import RichProgress
    from miracle_core.experiments.sources import sources_of
    from miracle_core.files import write_text
    from miracle_core.report import tables
    from miracle_core.report.clusters import read_clusters
    from miracle_core.report.comparison import PRIMARY, Comparison
    from miracle_core.report.systems import check_comparable, grouped

    gathered = sources_of(paths, part, rule, progress=RichProgress(), told=message)
    results = [source.results for source in gathered.sources]
    check_comparable(results)
    together = None if clusters is None else read_clusters(clusters, results[0].user_ids)
    for note in gathered.notes:
        message(note)
    systems = grouped(gathered.sources)
    there = {each.name for each in systems}
    claimed = proposed or next((name for name in gathered.proposed if name in there), None)
    metric = primary or gathered.primary or PRIMARY
    found = Comparison(systems, primary=metric, proposed=claimed, clusters=together)
    makers = {"--markdown": tables.markdown, "--latex": tables.latex, "--csv": tables.as_csv}
    for option, path in files.items():
        if path is not None:
            write_text(path, makers[option](found))
            message(f"written to {path}")
    if as_json:
        print_json(found.document())
    else:
        _show(found)


def _show(found: Comparison) -> None:
    from miracle_core.report.tables import (
        claim_columns,
        claim_rows,
        claim_words,
        mean_cells,
        title,
    )

    # A terminal may show neither bold nor underlining: signs are seen everywhere.
    signs = (" *", " +", "  ")
    print_table(
        ["system", "runs", *found.metrics],
        [
            [name, runs, *(text + signs[place] for text, place in cells)]
            for name, runs, cells in mean_cells(found)
        ],
        title=f"{title(found)} (* best, + second)",
        right=found.metrics,
    )
    heads = claim_columns(found)
    hint = "" if found.proposed else " --proposed NAME fixes one; name it before you look."
    print_table(
        heads,
        claim_rows(found),
        title=f"{found.primary}. {claim_words(found)}{hint}",
        right=heads[1:-1],
    )
