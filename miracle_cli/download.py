"""``miracle download``: public data sets, their licence and citation first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from miracle_cli.output import message, plain, print_json, print_table

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def download(
    name: Annotated[
        str | None, typer.Argument(help="A data set; without a name, all are listed.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write [default: raw/NAME].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Download a public data set, or list the available ones.

    Licence and citation are shown first. An interrupted download continues where it stopped.
    """
    from miracle_cli.progress import RichProgress
    from miracle_core.data.download import catalogue, find
    from miracle_core.data.download import download as fetch
    from miracle_core.errors import command
    from miracle_core.files import sha256_file

    if name is None:
        rows = [[data.name, data.title, data.format, data.page] for data in catalogue().values()]
        if as_json:
            keys = ("name", "title", "format", "page")
            print_json([dict(zip(keys, row, strict=True)) for row in rows])
        else:
            print_table(["name", "data set", "format", "page"], rows)
        return
    data = find(name)
    for label, text in (
        ("data set", data.title),
        ("licence", data.licence),
        ("cite", data.citation),
        ("page", data.page),
    ):
        message(f"{label + ':':<10}{text}")
    paths = fetch(data, out or Path("raw") / name, RichProgress())
    files = [{"file": str(path), "sha256": sha256_file(path)} for path in paths]
    if as_json:
        print_json({"name": name, "format": data.format, "files": files})
        return
    for file in files:
        typer.echo(plain(f"{file['file']}  sha256 {file['sha256']}"))
    folder = paths[0].parent
    after = command("miracle", "preprocess", folder, "--format", data.format)
    message(f"next: {after} --out data/{name}")
