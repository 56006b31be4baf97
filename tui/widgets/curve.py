"""A curve drawn with braille dots: each cell is two dots wide and four high."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text
from textual.widget import Widget

_BASE = 0x2800
# The bit of each dot of a braille cell, by row and column.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_AXIS = 9


def braille(values: Sequence[float], width: int, height: int) -> list[str]:
    """Draw values as a line, evenly spread from left to right.

    Args:
        values: at least one value, all finite.
        width: the width in cells.
        height: the height in cells.

    Returns:
        ``height`` lines of ``width`` characters, the largest value on top.
    """
    across, down = width * 2, height * 4
    low, high = min(values), max(values)
    span = high - low or 1.0
    cells = [[0] * width for _ in range(height)]

    def y_of(x: int) -> int:
        place = x / max(across - 1, 1) * (len(values) - 1)
        left = min(int(place), len(values) - 1)
        right = min(left + 1, len(values) - 1)
        value = values[left] + (values[right] - values[left]) * (place - left)
        return round((high - value) / span * (down - 1)) if high > low else down // 2

    before = y_of(0)
    for x in range(across if len(values) > 1 else 1):
        now = y_of(x)
        for y in range(min(before, now), max(before, now) + 1):
            cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
        before = now
    return ["".join(chr(_BASE + dots) for dots in line) for line in cells]


class Curve(Widget):
    """One curve with its scale, and its first, best and last value in numbers."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, classes="panel")
        self._values: list[float] = []
        self._first = 1
        self._rising = True

    def show(self, name: str, values: Sequence[float], *, rising: bool) -> None:
        """Show values, one per epoch; ``rising`` says whether higher is better."""
        self._values, self._rising = list(values), rising
        from textual.content import Content

        self.border_title = Content(name)
        self.refresh()

    def render(self) -> Text:
        """The curve above its numbers."""
        width, height = self.size.width - _AXIS, self.size.height - 2
        if not self._values or width < 2 or height < 1:
            return Text("")
        values = self._values
        low, high = min(values), max(values)
        lines = braille(values, width, height)
        out = Text(no_wrap=True)
        for number, line in enumerate(lines):
            if high > low:
                mark = high if number == 0 else low if number == height - 1 else None
            else:
                mark = low if number == (height * 2 - 1) // 4 else None
            out.append("" if mark is None else f"{mark:>{_AXIS - 2}.4g}", "dim")
            out.append(" " * (_AXIS - (0 if mark is None else _AXIS - 2)))
            out.append(f"{line}\n", "bold")
        last = f"epoch {len(values)}"
        out.append(f"{'':>{_AXIS}}1{last:>{max(width - 1, 0)}}\n", "dim")
        best = high if self._rising else low
        epoch = values.index(best) + 1
        out.append(f"first {values[0]:.4g} · best {best:.4g} at {epoch} · last {values[-1]:.4g}")
        return out
