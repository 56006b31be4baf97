"""Settings in words: what each is, its default and what is allowed.

All three come from the settings classes, so ``miracle models`` and the reference pages always agree
with the program.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from miracle_core.config.sections import Section


@dataclass(frozen=True)
class Described:
    """One setting of a section.

    Attributes:
        name: its name in the section.
        default: its default, as the class has it.
        allowed: its type and bounds in words.
        about: what it is, from the docstring of its class; empty if that doesn't say.
    """

    name: str
    default: Any
    allowed: str
    about: str


def described(section: type[Section]) -> list[Described]:
    """The settings of a section in the order of their class, except ``kind`` and subsections."""
    about = attributes(section)
    return [
        Described(name, field.get_default(call_default_factory=True), _allowed(field), about[name])
        for name, field in section.model_fields.items()
        if name != "kind" and not _is_section(field.annotation)
    ]


def attributes(kind: type) -> dict[str, str]:
    """What docstrings say about a class's attributes, under ``Attributes:``.

    A class inherits what its parents' docstrings say.

    Returns:
        One line for each name; empty if no docstring has the name.
    """
    found: dict[str, str] = dict.fromkeys(getattr(kind, "model_fields", {}), "")
    for parent in reversed(kind.__mro__):
        text = inspect.cleandoc(parent.__dict__.get("__doc__") or "")
        _, _, listed = text.partition("Attributes:\n")
        # A name is indented by four columns, and the lines that continue it by more.
        for name, words in re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE):
            found[name] = " ".join(words.split())
    return found


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _allowed(field: Any) -> str:
    """A field's type and bounds in words."""
    bounds = [
        f"{sign} {getattr(bound, attribute)}"
        for bound in field.metadata
        for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
        if getattr(bound, attribute, None) is not None
    ]
    inner = get_args(field.annotation)
    if get_origin(field.annotation) is list:
        named = f"list of {inner[0].__name__}"
    else:
        named = " | ".join(map(str, inner)) or field.annotation.__name__
    return ", ".join([named, *bounds])
