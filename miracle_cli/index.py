"""``miracle index``: a run's index for approximate search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from miracle_cli.output import message, print_fields, print_json
from miracle_core.errors import command

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def index(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build an index of the run's catalogue and measure how much of the exact top-K it finds.

    An existing index is replaced. miracle recommend RUN --index uses it. Needs faiss (pip install
    faiss-cpu).
    """
    from miracle_cli.progress import RichProgress
    from miracle_core.index.search import FLAT_BELOW, faiss_library
    from miracle_core.index.store import build_index
    from miracle_core.runs.opening import load_run

    faiss_library()  # what is missing is told before anything is loaded
    record = build_index(load_run(run), progress=RichProgress())
    told = record.model_dump(exclude={"layout"})
    if as_json:
        print_json({"run": str(run), **told})
        return
    recall = told.pop("recall")
    print_fields({**told, **{f"recall@{k} of the exact search": v for k, v in recall.items()}})
    if record.items < FLAT_BELOW:
        message(
            f"below {FLAT_BELOW:,} items the index compares everything: it finds the same as the "
            "exact search, no faster"
        )
    message("next: " + command("miracle", "recommend", run, "--index", "--title", "TITLE"))
