"""``miracle export``: a run as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from miracle_cli.output import message, print_fields, print_json
from miracle_cli.seen import Seen, seen_option
from miracle_core.errors import InputError, command

if TYPE_CHECKING:
    from miracle_core.export.export import Target

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    to: Annotated[
        str,
        typer.Option(
            metavar="numpy|faiss|onnx|huggingface",
            help="Vectors and histories as arrays; an index of faiss beside them; networks that "
            "onnxruntime runs; or weights, config.json and a card.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write; an export there is replaced.")],
    data: Annotated[
        Path | None, typer.Option(help="Another Dataset than the run's own, whose items and users.")
    ] = None,
    seen: Seen = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a run as files that need nothing of this package, with a script that uses them."""
    targets = ("numpy", "faiss", "onnx", "huggingface")
    if to not in targets:
        raise InputError(
            "is nothing to export to",
            where=f"--to {to}",
            remedy=f"choose one of {', '.join(targets)}",
        )
    from miracle_cli.progress import RichProgress
    from miracle_core import Recommender
    from miracle_core.export import export as write

    recommender = Recommender.load(run, data=data, seen=seen_option(seen), progress=RichProgress())
    found = write(recommender, cast("Target", to), out)
    if found.replaced:
        message(f"replaced the export that was in {found.out}")
    if as_json:
        print_json(found.summary())
        return
    print_fields(
        {
            "written to": str(found.out),
            "items": found.items,
            "users": found.users,
            "bytes": found.bytes,
            "try it": command("python", found.out / "use.py"),
        }
    )
