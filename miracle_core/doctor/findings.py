"""The result of one check."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

# ``ok``: as it should be. ``missing``: not there, and only some need it. ``warning``: works, but
# perhaps not for long or not for all. ``broken``: something that is needed doesn't work.
State = Literal["ok", "missing", "warning", "broken"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: what was checked.
        state: how it is.
        found: what was found, in words.
        remedy: what to do about it; None where nothing is to be done.
        facts: the same as numbers and names, for programs.
    """

    name: str
    state: State
    found: str
    remedy: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """The JSON contract of one finding."""
        said = {"name": self.name, "state": self.state, "found": self.found, "remedy": self.remedy}
        return said | self.facts
