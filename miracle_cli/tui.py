"""``miracle tui``: the explorer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from miracle_cli.device import Device
from miracle_cli.output import message
from miracle_cli.rules import (
    Allow,
    Boost,
    Deny,
    DiverseBy,
    Diversity,
    MinStrength,
    Mute,
    Quota,
    RuleOptions,
    Where,
)
from miracle_core.errors import InputError, MiracleError, command
from miracle_core.runs.summary import is_dataset, is_pretrained

if TYPE_CHECKING:
    from miracle_core.ranking.rules import Rules

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def tui(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run folder; without one, choose.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A Dataset to read in place of the run's own; a pre-trained run needs one."
        ),
    ] = None,
    device: Device = "cpu",
    web: Annotated[
        bool, typer.Option("--web", help="Serve it to a browser instead of this terminal.")
    ] = False,
    host: Annotated[
        str, typer.Option(help="The address to serve on; who opens it needs the printed token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to serve on.")] = 8000,
    allow: Allow = None,
    deny: Deny = None,
    where: Where = None,
    mute: Mute = None,
    boost: Boost = None,
    min_strength: MinStrength = None,
    quota: Quota = None,
    diversity: Diversity = None,
    diverse_by: DiverseBy = None,
) -> None:
    """Explore a run: type titles and see what they lead to, and why."""
    from tui.on_disk import Source

    if run is not None and not run.is_dir():
        raise InputError(
            "is not a folder",
            where=str(run),
            remedy="name a run folder, or none to choose among those found",
        )
    _check_data(run, data)
    if device != "cpu":
        from miracle_core.devices import device_named

        device_named(device)
    asked = RuleOptions(allow, deny, where, mute, boost, min_strength, quota, diversity, diverse_by)
    rules = asked.rules()
    if rules is not None and run is None:
        raise InputError("rules are of one run", where="miracle tui", remedy="name a RUN")
    if run is not None and rules is not None:
        with asked.named():
            _check_rules(run, data, device, rules)
    options = tuple(asked.words())
    source = None if run is None else Source(run, data, rules=rules, options=options)
    if web:
        from tui.web import serve
        from tui.web_access import is_loopback

        if not is_loopback(host):
            message(
                f"warning: {host} can be reached from other machines, and nothing is encrypted. "
                "Whoever has the address with its token controls the explorer: it reads this "
                "machine's run folders and writes exports."
            )
        serve(source, host, port, _tell_addresses, device)
        return
    from tui.app import ExplorerApp
    from tui.engine import load_recommender
    from tui.session import Session, session_file
    from tui.terminal import require_terminal
    from tui.terminal import run as run_in_terminal

    require_terminal()
    load = partial(load_recommender, device=device)
    explorer = ExplorerApp(source, load=load, session=Session.load(session_file()))
    run_in_terminal(explorer)
    if explorer.return_code:
        raise typer.Exit(explorer.return_code)


def _check_data(run: Path | None, data: Path | None) -> None:
    """Refuse what can't be opened before a screen is drawn.

    Raises:
        InputError: a Dataset without a run, or one that is none; or a pre-trained run without one.
    """
    if data is None:
        if run is not None and is_pretrained(run):
            raise InputError(
                "is a pre-trained run: it has no Dataset of its own",
                where=str(run),
                remedy="name one: " + command("miracle", "tui", run, "--data", "DATA"),
            )
    elif run is None:
        raise InputError("needs a run", where=f"--data {data}", remedy="name one: miracle tui RUN")
    elif not is_dataset(data):
        raise InputError(
            "is not a Dataset (it has no manifest.json)",
            where=f"--data {data}",
            remedy="make one with: miracle preprocess",
        )


def _check_rules(run: Path, data: Path | None, device: str, rules: Rules) -> None:
    """Refuse rules that leave nothing, or that the run can't keep, before a screen is drawn.

    What else is wrong with the run is told on the screen, where it can be opened again.

    Raises:
        RuleError: such rules.
    """
    from miracle_core import Recommender
    from miracle_core.devices import device_named
    from miracle_core.ranking.rules import RuleError

    message("reading the run, to check the rules")
    try:
        Recommender.load(run, data=data, device=device_named(device), rules=rules)
    except RuleError:
        raise
    except MiracleError:
        pass


def _tell_addresses(addresses: Sequence[str]) -> None:
    for number, address in enumerate(addresses):
        message(f"{'     or' if number else 'serving'} on {address}")
    message("Open that address in a browser; Ctrl-C stops.")
