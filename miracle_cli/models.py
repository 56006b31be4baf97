"""``miracle models``: the systems that can be trained, and their settings."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from miracle_cli.output import print_fields, print_json, print_table

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One system [default: all].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the systems: what each is, what it needs, its settings with their defaults."""
    from miracle_core import registry

    if name is None:
        found = registry.systems()
        if as_json:
            print_json({"systems": [_described(spec) for spec in found]})
            return
        print_table(
            ["model", "system", "needs", "made by"],
            [
                [spec.name, spec.title, ", ".join(spec.needs) or "-", ", ".join(spec.stages)]
                for spec in found
            ],
        )
        return
    spec = registry.system(name, where="miracle models")
    if as_json:
        print_json(_described(spec))
        return
    print_fields(
        {
            "system": spec.title,
            "paper": spec.paper,
            "needs": ", ".join(spec.needs) or "nothing but interactions",
            **({"reads also": ", ".join(spec.reads)} if spec.reads else {}),
            "made by": ", ".join(spec.stages),
            "modes": ", ".join(spec.modes),
        }
    )
    print_table(
        ["setting", "default", "allowed", "what it is"],
        [
            [f"model.{each['name']}", each["default"], each["allowed"], each["about"]]
            for each in _settings(spec)
        ],
    )
    search = spec.settings_class().SEARCH
    if search:
        print_table(
            ["searched by miracle tune", "among"],
            [[name, among.words()] for name, among in search.items()],
        )


def _described(spec: Any) -> dict[str, Any]:
    """The JSON contract of one system."""
    search = spec.settings_class().SEARCH
    return {
        **spec.summary(),
        "settings": _settings(spec),
        "search": {name: among.document() for name, among in search.items()},
    }


def _settings(spec: Any) -> list[dict[str, Any]]:
    """The settings of a system's own section: name, default, what is allowed, what it is."""
    from miracle_core.config import described

    return [
        {
            "name": setting.name,
            "default": setting.default,
            "allowed": setting.allowed,
            "about": setting.about.replace("``", ""),
        }
        for setting in described(spec.settings_class())
    ]
