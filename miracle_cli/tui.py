"""``miracle tui``: the explorer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from miracle_cli.output import message
from miracle_core.errors import InputError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def tui(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run folder; without one, choose.")
    ] = None,
    web: Annotated[
        bool, typer.Option("--web", help="Serve it to a browser instead of this terminal.")
    ] = False,
    host: Annotated[
        str, typer.Option(help="The address to serve on; who opens it needs the printed token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to serve on.")] = 8000,
) -> None:
    """Explore a run: type titles and see interests form."""
    if run is not None and not run.is_dir():
        raise InputError(
            "is not a folder",
            where=str(run),
            remedy="name a run folder, or none to choose among those found",
        )
    if web:
        from tui.web import serve
        from tui.web_access import is_loopback

        if not is_loopback(host):
            message(
                f"warning: {host} can be reached from other machines, and nothing is encrypted. "
                "Whoever has the address with its token controls the explorer: it reads this "
                "machine's run folders and writes exports."
            )
        serve(run, host, port, _tell_addresses)
        return
    from tui.app import ExplorerApp
    from tui.session import Session, session_file
    from tui.terminal import require_terminal
    from tui.terminal import run as run_in_terminal

    require_terminal()
    explorer = ExplorerApp(run, session=Session.load(session_file()))
    run_in_terminal(explorer)
    if explorer.return_code:
        raise typer.Exit(explorer.return_code)


def _tell_addresses(addresses: Sequence[str]) -> None:
    for number, address in enumerate(addresses):
        message(f"{'     or' if number else 'serving'} on {address}")
    message("Open that address in a browser; Ctrl-C stops.")
