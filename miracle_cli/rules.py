"""The options that make a shop's rules, the same in every command that ranks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from miracle_cli.output import message
from miracle_core.errors import InputError
from miracle_core.paths import as_path

if TYPE_CHECKING:
    from miracle_core.ranking.rules import Rules

Allow = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Only items of this file may be recommended (an id a line)."),
]
Deny = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Items of this file may not (an id a line).")
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ATTRIBUTE=VALUE",
        help="Only items that have this value (repeatable: another value of the attribute is also "
        "right, another attribute must be right too).",
    ),
]
Mute = Annotated[
    list[int] | None,
    typer.Option(metavar="CAPSULE", help="An interest that doesn't count (repeatable)."),
]
Boost = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CAPSULE=NUMBER",
        help="Add this to the scores that an interest gives; below 0 it counts less (repeatable).",
    ),
]
MinStrength = Annotated[
    float | None,
    typer.Option(min=0.0, help="Interests that are weaker don't count (0 to 1)."),
]
Quota = Annotated[
    int | None,
    typer.Option(min=0, help="Places of a list for each interest of a user."),
]
Diversity = Annotated[
    float | None,
    typer.Option(min=0.0, help="How much it counts that the items of a list differ."),
]
DiverseBy = Annotated[
    str | None,
    typer.Option(metavar="text|ATTRIBUTE", help="By what they differ, for --diversity."),
]


class RuleOptions(NamedTuple):
    """The options above as they were given; None where one was not."""

    allow: Path | None
    deny: Path | None
    where: list[str] | None
    mute: list[int] | None
    boost: list[str] | None
    min_strength: float | None
    quota: int | None
    diversity: float | None
    diverse_by: str | None

    def rules(self) -> Rules | None:
        """The rules that were asked for, or None.

        Raises:
            InputError: a file that can't be read, or rules that make no sense.
        """
        with self.named():
            return self._rules()

    def _rules(self) -> Rules | None:
        given = self._asdict() | {
            "allow": None if self.allow is None else _ids(self.allow, "--allow"),
            "deny": None if self.deny is None else _ids(self.deny, "--deny"),
            "where": _values(self.where) if self.where else None,
            "mute": tuple(self.mute) if self.mute else None,
            "boost": _boosts(self.boost) if self.boost else None,
        }
        asked = {name: value for name, value in given.items() if value is not None}
        if not asked:
            return None
        from miracle_core.ranking.rules import Rules

        return Rules.make(**asked)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Within the block, what is wrong with rules is told by the options that were typed.

        Raises:
            InputError: in place of a ``RuleError``.
        """
        from miracle_core.ranking.rules import RuleError

        try:
            yield
        except RuleError as error:
            typed = [f"{_option(n)} {value}" for n in error.rules for value in self._given(n)]
            missing = " and ".join(map(_option, error.missing))
            remedy = f"add {missing}" if missing else error.remedy
            raise InputError(error.what, where=" ".join(typed), remedy=remedy) from error

    def words(self) -> list[str]:
        """The options as another command takes them, wherever it runs."""
        words = []
        for name in self._fields:
            for value in self._given(name):
                if isinstance(value, Path):
                    value = as_path(value).absolute()
                words.append(f"{_option(name)}={value}")
        return words

    def _given(self, name: str) -> list[object]:
        """What an option was given, once or several times."""
        given = getattr(self, name)
        return given if isinstance(given, list) else [] if given is None else [given]


def _option(rule: str) -> str:
    return f"--{rule.replace('_', '-')}"


def _ids(path: Path, option: str) -> tuple[str, ...]:
    path = as_path(path)
    try:
        # Windows begins text with a mark. An id may hold what splitlines() takes for a line's end.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        what = f"can't be read: {error.strerror or error}"
        raise InputError(what, where=f"{option} {path}") from error
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", where=f"{option} {path}") from error
    ids = tuple(line.strip() for line in lines if line.strip())
    if not ids and option == "--deny":  # a day on which nothing is sold out
        message(f"{option} {path} holds no id, so it denies nothing")
    elif not ids:
        raise InputError("holds no id", where=f"{option} {path}", remedy="write one id a line")
    return ids


def _boosts(boost: Iterable[str]) -> dict[int, float]:
    found: dict[int, float] = {}
    given: dict[int, str] = {}
    for text in boost:
        words = text.partition("=")
        try:
            capsule, number = int(words[0]), float(words[2])
        except ValueError as error:
            raise InputError(
                "is no capsule and number",
                where=f"--boost {text}",
                remedy="write CAPSULE=NUMBER, such as 7=0.1",
            ) from error
        if capsule in found:
            raise InputError(
                f"capsule {capsule} is boosted twice",
                where=f"--boost {given[capsule]} --boost {text}",
                remedy="give one of them",
            )
        found[capsule], given[capsule] = number, text
    return found


def _values(where: Iterable[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for text in where:
        attribute, equals, value = text.partition("=")
        if not (attribute and equals and value):
            raise InputError(
                "names no value", where=f"--where {text}", remedy="write ATTRIBUTE=VALUE"
            )
        found[attribute] = (*found.get(attribute, ()), value)
    return found
