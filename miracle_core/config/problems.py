"""What is wrong with settings, in words, with the nearest known name where one is unknown."""

from __future__ import annotations

import difflib

from pydantic import BaseModel, ValidationError

from miracle_core.errors import InputError


def explained(error: ValidationError, settings: type[BaseModel], where: str) -> InputError:
    """The first thing wrong, with the nearest known name where the name is unknown."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    place = f"{where}: {'.'.join(path)}" if path else where
    if first["type"] != "extra_forbidden":
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "model_type":
            message = "is a section of settings, not a value"
        # A whole section as the value is no help; the message names the wrong values.
        got = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
        return InputError(message + got, where=place)
    # Its own section's names first: of equally near ones the first is taken.
    names = setting_names(settings)
    section = [name for name in names if name.rpartition(".")[0] == ".".join(path[:-1])]
    by_last = {name.rpartition(".")[2]: name for name in reversed([*section, *names])}
    near = difflib.get_close_matches(path[-1], list(by_last), n=1)
    known = f"known here: {', '.join(name.rpartition('.')[2] for name in section)}"
    remedy = f"did you mean {by_last[near[0]]}?" if near else known
    return InputError(f"there is no setting {path[-1]!r}", where=place, remedy=remedy)


def setting_names(section: type[BaseModel], prefix: str = "") -> list[str]:
    """Every setting's and section's dotted name."""
    names: list[str] = []
    for name, field in section.model_fields.items():
        names.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += setting_names(field.annotation, f"{prefix}{name}.")
    return names
