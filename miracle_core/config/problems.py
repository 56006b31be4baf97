"""What is wrong with settings, in words, with the nearest known name where one is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from miracle_core.errors import InputError, nearest

# What a value must be, by pydantic's name of the fault. {ge} and such are the bounds.
_MUST_BE = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
    "literal_error": "{expected}",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
}


def explained(error: ValidationError, settings: type[BaseModel], where: str) -> InputError:
    """The first thing wrong, with the nearest known name where the name is unknown."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    place = f"{where}: {'.'.join(path)}" if path else where
    if first["type"] != "extra_forbidden":
        message = in_words(first)
        # A whole section as the value is no help; the message names the wrong values.
        got = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
        return InputError(message + got, where=place)
    # Its own section's names first: of equally near ones the first is taken.
    names = setting_names(settings)
    section = [name for name in names if name.rpartition(".")[0] == ".".join(path[:-1])]
    by_last = {name.rpartition(".")[2]: name for name in reversed([*section, *names])}
    near = nearest(path[-1], by_last)
    known = f"known here: {', '.join(name.rpartition('.')[2] for name in section)}"
    remedy = known if near is None else f"did you mean {by_last[near]}?"
    return InputError(f"there is no setting {path[-1]!r}", where=place, remedy=remedy)


def in_words(fault: Mapping[str, Any]) -> str:
    """A fault that pydantic lists in our words, or as it says it where we have none."""
    if fault["type"] == "model_type":
        return "is a section of settings, not a value"
    known = _MUST_BE.get(fault["type"])
    if known is None:
        return str(fault["msg"]).removeprefix("Value error, ")
    return f"must be {known.format(**fault.get('ctx', {}))}"


def setting_names(section: type[BaseModel], prefix: str = "") -> list[str]:
    """Every setting's and section's dotted name."""
    names: list[str] = []
    for name, field in section.model_fields.items():
        names.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += setting_names(field.annotation, f"{prefix}{name}.")
    return names
