"""``miracle doctor``: what this machine and this installation can do, and what to mend."""

from __future__ import annotations

from typing import Annotated

import typer

from miracle_cli.doctor_shown import look

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at the installation and the machine: libraries, devices, encoders, disks, memory.

    Ends with code 0 if all that is needed works, and with 1 if something is broken. Libraries are
    tried by importing them, which takes some seconds.
    """
    raise typer.Exit(look(as_json))
