"""Charts as SVG text that stands in an HTML page: no scripts, no fonts, colours by the page's CSS.

A series is a number; the page's style gives it a colour in light and in dark. Its marks have shapes
of their own too, so that print without colour can be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from miracle_core.report.markup import text

WIDTH = 720
SERIES = 16  # colours and shapes; more series begin again
_ROW = 30
_NAME = 24  # characters of a name in a chart


@dataclass(frozen=True)
class Point:
    """A value with its interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """From where to where it reaches."""
        return (
            self.value if self.low is None else min(self.low, self.value),
            self.value if self.high is None else max(self.high, self.value),
        )


@dataclass(frozen=True)
class Row:
    """One line of a chart: its name, the number of its series, its point."""

    name: str
    series: int
    point: Point


@dataclass(frozen=True)
class Line:
    """Points joined by a line.

    Attributes:
        name: of the series.
        series: its number.
        xs: rising.
        ys: one each.
        stepped: whether a value holds until the next.
        mark: the place of a point that stands out, or None.
    """

    name: str
    series: int
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    stepped: bool = False
    mark: int | None = None


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, about so many."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(each * scale for each in (1, 2, 5, 10) if each * scale >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _number(value: float, step: float) -> str:
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
    return f"{value + 0.0:.{min(decimals, 6)}f}"  # + 0.0: no minus before nothing


def _signed(value: float, step: float) -> str:
    return _number(value, step).replace("-", "\N{MINUS SIGN}")


class _Scale:
    """From values to pixels."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high = low, high if high > low else low + 1
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


def _label(
    x: float, y: float, words: str, anchor: str = "start", kind: str = "", limit: int = _NAME
) -> str:
    """A text; one that is too long is cut, and whole in its tooltip."""
    cut = words if len(words) <= limit else words[: limit - 1].rstrip() + "…"
    whole = f"<title>{text(words)}</title>" if cut != words else ""
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{style}>{text(cut)}{whole}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{kind}"/>'


def mark(series: int, x: float, y: float, size: float = 4.5) -> str:
    """The mark of a series: each of sixteen has a shape and a colour of its own.

    Eight shapes come filled first and then hollow.
    """
    number = series % SERIES
    hollow = " hollow" if number >= SERIES // 2 else ""
    kind = f'class="m s{number}{hollow}"'
    a, b, c = (round(size * factor, 2) for factor in (1, 1.25, 0.45))
    star = [
        (
            round(x + radius * math.sin(math.pi * point / 5), 2),
            round(y - radius * math.cos(math.pi * point / 5), 2),
        )
        for point in range(10)
        for radius in (size * (0.6 if point % 2 else 1.45),)
    ]
    arms = (
        f"H{x + c}V{y - c}H{x + b}V{y + c}H{x + c}V{y + b}H{x - c}V{y + c}H{x - b}V{y - c}H{x - c}"
    )
    plus = f"M{x - c} {y - b}{arms}Z"
    shapes = (
        f'<circle cx="{x}" cy="{y}" r="{a}" {kind}/>',
        f'<rect x="{x - a}" y="{y - a}" width="{2 * a}" height="{2 * a}" {kind}/>',
        f'<path d="M{x} {y - b}L{x + b} {y + a}H{x - b}Z" {kind}/>',
        f'<path d="M{x} {y - b}L{x + b} {y}L{x} {y + b}L{x - b} {y}Z" {kind}/>',
        f'<path d="M{x} {y + b}L{x + b} {y - a}H{x - b}Z" {kind}/>',
        f'<path d="{plus}" {kind}/>',
        f'<path d="M{" L".join(f"{one} {two}" for one, two in star)}Z" {kind}/>',
        f'<path d="M{x - a} {y - b}H{x + a}L{x - a} {y + b}H{x + a}Z" {kind}/>',
    )
    return shapes[number % len(shapes)]


def _whisker(point: Point, scale: _Scale, at: float, kind: str, *, upright: bool = False) -> str:
    if point.low is None or point.high is None:
        return ""
    low, high, cap = scale(point.low), scale(point.high), 4
    if upright:
        return (
            _line(at, low, at, high, kind)
            + _line(at - cap, low, at + cap, low, kind)
            + _line(at - cap, high, at + cap, high, kind)
        )
    return (
        _line(low, at, high, at, kind)
        + _line(low, at - cap, low, at + cap, kind)
        + _line(high, at - cap, high, at + cap, kind)
    )


def _whole(parts: Sequence[str], height: float, says: str, width: float = WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(says)}">'
        f"{''.join(parts)}</svg>"
    )


def bars(rows: Sequence[Row], says: str, width: float = WIDTH) -> str:
    """Horizontal bars from 0 with their intervals, a row each.

    Args:
        rows: from above to below.
        says: what the chart shows, for those who can't see it.
        width: in units of the page's pixels.
    """
    left, right, top = 150.0, width - 62.0, 8.0
    most = max(row.point.ends[1] for row in rows) or 1
    values = ticks(0, most, 4)
    if values[1:] and values[-1] < most:
        # The axis goes on to the next round number: no bar ends beyond it.
        values.append(values[-1] + values[1])
    scale = _Scale(0, max(most, values[-1]), left, right)
    bottom = top + _ROW * len(rows)
    parts = []
    for tick in values:
        x = scale(tick)
        parts.append(_line(x, top, x, bottom, "grid"))
        parts.append(
            _label(x, bottom + 16, _number(tick, values[1] if values[1:] else 1), "middle", "small")
        )
    for place, row in enumerate(rows):
        y = top + _ROW * place + _ROW / 2
        wide = max(scale(row.point.value) - left, 0.5)
        parts.append(_label(left - 8, y + 4.5, row.name, "end", limit=20))
        parts.append(
            f'<rect x="{left}" y="{y - 9}" width="{wide:.2f}" height="18" rx="2" '
            f'class="bar s{row.series % SERIES}"/>'
        )
        parts.append(_whisker(row.point, scale, y, "whisker"))
        beyond = max(scale(row.point.ends[1]), left + wide) + 8
        parts.append(_label(beyond, y + 4.5, f"{row.point.value:.4f}", kind="number"))
    parts.append(_line(left, top, left, bottom, "axis"))
    return _whole(parts, bottom + 24, says, width)


def forest(rows: Sequence[Row], says: str, bands: Sequence[float], unit: str) -> str:
    """Differences with their intervals around 0, a row each.

    Args:
        rows: from above to below; values in the unit.
        says: what the chart shows.
        bands: of each row, the difference up to which both sides are shaded; 0 for none.
        unit: stands after the numbers of the axis.
    """
    left, right, top = 200.0, WIDTH - 20.0, 22.0
    ends = [end for row in rows for end in row.point.ends]
    low, high = min(*ends, -max(bands), 0.0), max(*ends, *bands, 0.0)
    room = (high - low) * 0.04 or 1
    scale = _Scale(low - room, high + room, left, right)
    bottom = top + _ROW * len(rows)
    parts = []
    for place, band in enumerate(bands):
        if band:
            x, wide = scale(-band), scale(band) - scale(-band)
            parts.append(
                f'<rect x="{x}" y="{top + _ROW * place}" width="{wide:.2f}" height="{_ROW}" '
                'class="band"/>'
            )
    values = ticks(scale.low, scale.high, 6)
    step = values[1] - values[0] if values[1:] else 1.0
    for tick in values:
        x = scale(tick)
        parts.append(_line(x, top, x, bottom, "grid"))
        sign = "+" if tick > step / 2 else ""
        parts.append(
            _label(x, bottom + 16, f"{sign}{_signed(tick, step)}{unit}", "middle", "small")
        )
    zero = scale(0)
    parts.append(_line(zero, top - 4, zero, bottom, "axis"))
    parts.append(_label(zero - 8, top - 9, "← worse", "end", "small"))
    parts.append(_label(zero + 8, top - 9, "better →", "start", "small"))
    for place, row in enumerate(rows):
        y = top + _ROW * place + _ROW / 2
        parts.append(_label(left - 10, y + 4.5, row.name, "end", limit=26))
        parts.append(_whisker(row.point, scale, y, f"wide s{row.series % SERIES}"))
        parts.append(mark(row.series, scale(row.point.value), y))
    return _whole(parts, bottom + 24, says)


def slices(
    groups: Sequence[str],
    series: Sequence[tuple[str, int, Sequence[Point]]],
    says: str,
    axis: str,
) -> str:
    """Points of several series side by side in groups, with their intervals.

    Args:
        groups: what stands below each, of one line or several.
        series: name, number, and a point for each group.
        says: what the chart shows.
        axis: what the groups are of.
    """
    left, right, top, bottom = 60.0, WIDTH - 12.0, 12.0, 250.0
    most = max((point.ends[1] for _, _, points in series for point in points), default=1)
    scale = _Scale(0, most * 1.05 or 1, bottom, top)
    parts = []
    values = ticks(0, scale.high)
    step = values[1] if values[1:] else 1.0
    for tick in values:
        y = scale(tick)
        parts.append(_line(left, y, right, y, "grid"))
        parts.append(_label(left - 8, y + 4, _number(tick, step), "end", "small"))
    each = (right - left) / len(groups)
    gap = min(26.0, each * 0.8 / max(len(series), 1))
    for place, group in enumerate(groups):
        middle = left + each * (place + 0.5)
        if place:
            parts.append(_line(left + each * place, top, left + each * place, bottom, "grid"))
        for number, words in enumerate(group.split("\n")):
            y, kind = bottom + 18 + 15 * number, "small" if number else ""
            parts.append(_label(round(middle, 2), y, words, "middle", kind, limit=30))
        for number, (_, own, points) in enumerate(series):
            x = round(middle + (number - (len(series) - 1) / 2) * gap, 2)
            point = points[place]
            parts.append(_whisker(point, scale, x, f"wide s{own % SERIES}", upright=True))
            parts.append(mark(own, x, scale(point.value)))
    parts.append(_line(left, bottom, right, bottom, "axis"))
    below = bottom + 40 + 15 * max(group.count("\n") for group in groups)
    parts.append(_label((left + right) / 2, below, axis, "middle", "small", limit=90))
    return _whole(parts, below + 8, says)


def lines(series: Sequence[Line], says: str, x_axis: str, *, from_zero: bool = False) -> str:
    """Lines over a whole number, such as epochs or trials.

    Args:
        series: each at least one point.
        says: what the chart shows.
        x_axis: what the numbers count.
        from_zero: whether the upright axis begins at 0.
    """
    left, right, top, bottom = 60.0, WIDTH - 16.0, 12.0, 240.0
    every = [y for line in series for y in line.ys]
    low, high = min(every), max(every)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1
    upright = _Scale(0 if from_zero else low - room, high + room, bottom, top)
    across = _Scale(
        min(line.xs[0] for line in series), max(line.xs[-1] for line in series), left + 8, right - 8
    )
    parts = []
    values = ticks(upright.low, upright.high)
    step = values[1] - values[0] if values[1:] else 1.0
    for tick in values:
        y = upright(tick)
        parts.append(_line(left, y, right, y, "grid"))
        parts.append(_label(left - 8, y + 4, _number(tick, step), "end", "small"))
    parts += [
        _label(across(tick), bottom + 18, f"{tick:.0f}", "middle", "small")
        for tick in ticks(across.low, across.high, 8)
        if tick == round(tick)
    ]
    for line in series:
        points = [(across(x), upright(y)) for x, y in zip(line.xs, line.ys, strict=True)]
        path = f"M{points[0][0]} {points[0][1]}"
        for x, y in points[1:]:
            path += f"H{x}V{y}" if line.stepped else f"L{x} {y}"
        parts.append(f'<path d="{path}" class="curve s{line.series % SERIES}"/>')
        if len(points) == 1 or line.mark is not None:
            parts.append(mark(line.series, *points[line.mark or 0]))
    parts.append(_line(left, bottom, right, bottom, "axis"))
    parts.append(_label((left + right) / 2, bottom + 38, x_axis, "middle", "small", limit=90))
    return _whole(parts, bottom + 46, says)


def heat(names: Sequence[str], counts: Sequence[Sequence[int]], says: str, axis: str) -> str:
    """Cells that are the darker the larger their number, a row a name.

    Args:
        names: of the rows.
        counts: a row each, of equal length.
        says: what the chart shows.
        axis: what the columns are.
    """
    columns = len(counts[0])
    left, top, row = 170.0, 6.0, 20.0
    wide = (WIDTH - left - 8) / columns
    most = max(max(own) for own in counts) or 1
    parts = []
    for place, (name, own) in enumerate(zip(names, counts, strict=True)):
        y = top + row * place
        parts.append(_label(left - 8, y + 14, name, "end", "small", limit=26))
        for column, count in enumerate(own):
            shade = "" if not count else f' style="fill-opacity:{0.15 + 0.85 * count / most:.2f}"'
            kind = "cell" if count else "cell none"
            parts.append(
                f'<rect x="{left + wide * column:.2f}" y="{y}" width="{wide - 1.5:.2f}" '
                f'height="{row - 1.5}" class="{kind}"{shade}><title>{count}</title></rect>'
            )
    bottom = top + row * len(names)
    every = max(1, columns // 16)
    for column in range(0, columns, every):
        x = round(left + wide * (column + 0.5), 2)
        parts.append(_label(x, bottom + 14, str(column), "middle", "small"))
    parts.append(_label(left + wide * columns / 2, bottom + 34, axis, "middle", "small", limit=90))
    return _whole(parts, bottom + 42, says)
