"""The ranges that ``miracle tune`` may choose settings from. Each system declares its own.

A system's settings class has ``SEARCH``, a mapping from a setting of the whole run
(``train.learning_rate``, ``model.dropout``) to one of these. The defaults must lie within, since
they are tried first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Value = str | int | float | bool


@dataclass(frozen=True)
class Uniform:
    """A number from ``low`` to ``high``, uniform; with ``log`` its logarithm is uniform.

    Raises:
        ValueError: no such range.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        """Check the ends."""
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"there are no numbers from {self.low} to {self.high}")

    def holds(self, value: Any) -> bool:
        """Whether a value is one of these."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high

    def ends(self) -> tuple[Value, ...]:
        """The values to validate: if the settings allow both ends, they allow all between."""
        return (self.low, self.high)

    def words(self) -> str:
        """The range for people."""
        return f"{self.low:g} to {self.high:g}{', log-uniform' if self.log else ''}"

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": "uniform", **asdict(self)}


@dataclass(frozen=True)
class Choice:
    """One of some values of one type.

    Raises:
        ValueError: fewer than two, one twice, or of several types.
    """

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        """Check the values."""
        if len(self.values) < 2 or len(set(self.values)) < len(self.values):
            raise ValueError(f"a choice needs two values, none of them twice: {self.values}")
        if len({type(value) for value in self.values}) > 1:
            raise ValueError(f"a choice has values of one type: {self.values}")

    def holds(self, value: Any) -> bool:
        """Whether a value is one of these."""
        return value in self.values

    def ends(self) -> tuple[Value, ...]:
        """The values to validate, which are all of them."""
        return self.values

    def words(self) -> str:
        """The values for people."""
        return " | ".join(map(str, self.values))

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": "choice", "values": list(self.values)}


Range = Uniform | Choice
SearchSpace = Mapping[str, Range]
