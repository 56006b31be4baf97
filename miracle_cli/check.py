"""``miracle check``: whether a system of one's own keeps the contract."""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miracle_cli.output import message, print_fields, print_json, print_table
from miracle_cli.training import assigned
from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.registry import SystemSpec

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def check(
    system: Annotated[
        str,
        typer.Argument(
            metavar="NAME|MODULE:SYSTEM",
            help="A system of miracle models, or a module that can be imported and the System or "
            "SystemSpec in it.",
        ),
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of the system (repeatable)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Try a system on a small generated shop, and say what breaks the contract.

    It is trained, stopped and resumed, evaluated and asked, in a temporary folder.
    """
    from miracle_core.check import check_system

    spec = _spec(system)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for done, error in check_system(spec, Path(folder), _settings(assignments or [])):
            message(f"{'ok    ' if error is None else 'BROKEN'} {done.name}: {done.says}")
            results.append({"check": done.name, "ok": error is None, "error": error and str(error)})
    broken = [result for result in results if not result["ok"]]
    if as_json:
        print_json({"system": spec.name, "ok": not broken, "checks": results})
    elif broken:
        print_table(["check", "what is wrong"], [[r["check"], r["error"]] for r in broken])
    else:
        print_fields({spec.name: f"keeps the contract ({len(results)} checks)"})
    if broken:
        raise typer.Exit(1)


def _spec(named: str) -> SystemSpec:
    """The system that is meant, registered."""
    from miracle_core import registry

    module_name, colon, name = named.partition(":")
    if not colon:
        return registry.system(named, where="miracle check")
    # As Python itself does for what is run from a folder.
    sys.path.insert(0, "")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise InputError(
            f"can't import {module_name!r}: {error}", where=f"miracle check {named}"
        ) from error
    found = getattr(module, name, None)
    specs = [value for value in vars(module).values() if isinstance(value, registry.SystemSpec)]
    spec = found if isinstance(found, registry.SystemSpec) else None
    if spec is None and found is not None:
        spec = next((each for each in specs if each.system.rpartition(":")[2] == name), None)
    if spec is None:
        raise InputError(
            f"has no SystemSpec of {name!r}" if found is not None else f"has no {name!r}",
            where=module_name,
            remedy="the module must hold a SystemSpec that names the class (docs/systems.md)",
        )
    registry.register(spec)
    return spec


def _settings(assignments: list[str]) -> dict[str, Any]:
    """Settings of the section ``model``, as ``--set`` gives them."""
    values: dict[str, Any] = {}
    for assignment in assignments:
        ((dotted, value),) = assigned([assignment], {}).items()
        name = dotted.removeprefix("model.")
        if name in values:
            raise InputError(f"{name} is given twice", where=f"--set {assignment}")
        values[name] = value
    return values
