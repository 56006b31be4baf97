"""Rows that can't be used: the first one stops the reading, or all are left out and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from miracle_core.errors import InputError


@dataclass
class Skips:
    """The rows that were left out, by reason; one object for each reading.

    Attributes:
        allowed: whether rows may be left out; if not, the first bad one raises.
        found: for each reason how many rows, and the place of the first one.
    """

    allowed: bool = False
    found: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, reason: str, rows: int, first: str) -> None:
        """Count rows left out for a reason; the place is kept without its folder."""
        if rows:
            count, place = self.found.get(reason, (0, first.replace("\\", "/").rsplit("/", 1)[-1]))
            self.found[reason] = (count + rows, place)

    def refuse(
        self,
        bad: npt.NDArray[np.bool_],
        reason: str,
        place: Callable[[int], str],
        *,
        what: Callable[[int], str] | None = None,
        remedy: str,
    ) -> npt.NDArray[np.bool_]:
        """Stop at the first bad row, or count them all.

        Args:
            bad: bool [rows].
            reason: what is wrong with them, as it is shown beside a count: ``no user_id``.
            place: gives the place of a row.
            what: the message for one row; None says ``has REASON``.
            remedy: how to fix it.

        Returns:
            bool [rows], those that stay.

        Raises:
            InputError: a bad row, where none may be left out.
        """
        if bad.any():
            row = int(np.argmax(bad))
            if not self.allowed:
                said = what(row) if what else f"has {reason}"
                raise InputError(said, where=place(row), remedy=remedy)
            self.add(reason, int(bad.sum()), place(row))
        return ~bad

    def report(self) -> list[dict[str, Any]]:
        """One entry a reason, for the manifest and the screen: reason, rows, first."""
        return [
            {"reason": reason, "rows": rows, "first": first}
            for reason, (rows, first) in self.found.items()
        ]
