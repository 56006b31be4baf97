"""Charts: well-formed for any numbers, marks at the values, and text that stays text."""

from __future__ import annotations

import math
import re
from importlib.resources import files
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from miracle_core.report import svg
from miracle_core.report.markup import table, text

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'too' \x1b[31m \u202eback"
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@settings(max_examples=300, deadline=None)
@given(NUMBERS, st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_round_even_and_inside(low: float, width: float, about: int) -> None:
    high = low + width
    assume(width > abs(low) * 1e-6)  # closer values differ in digits that a float hardly has
    found = svg.ticks(low, high, about)
    assert len(found) <= about + 2
    slack = width * 1e-6 + abs(low) * 1e-12
    assert all(low - slack <= tick <= high + slack for tick in found)
    for one, two in pairwise(found):
        step = two - one
        digits = step / 10 ** math.floor(math.log10(step) + 1e-6)
        assert min(abs(digits - each) for each in (1, 2, 5, 10)) < 1e-3


def parsed(chart: str) -> ET.Element:
    return ET.fromstring(chart)


def points(values: list[float]) -> list[svg.Point]:
    return [svg.Point(value, value - 0.01, value + 0.02) for value in values]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_every_chart_is_well_formed(values: list[float]) -> None:
    rows = [svg.Row(HOSTILE, place, point) for place, point in enumerate(points(values))]
    steps = tuple(float(place) for place in range(len(values)))
    for chart in (
        svg.bars(rows, HOSTILE),
        svg.forest(rows, HOSTILE, [0.02] * len(rows), " %"),
        svg.slices([HOSTILE] * len(values), [(HOSTILE, 0, points(values))], HOSTILE, HOSTILE),
        svg.lines([svg.Line(HOSTILE, 9, steps, tuple(values), mark=0)], HOSTILE, HOSTILE),
        svg.heat([HOSTILE] * 2, [[int(v * 9) for v in values]] * 2, HOSTILE, HOSTILE),
    ):
        found = parsed(chart)
        assert {each.tag for each in found.iter()} <= {
            "svg", "text", "title", "line", "rect", "path", "circle",
        }  # fmt: skip
        for each in found.iter():
            for name, value in each.attrib.items():
                assert not name.startswith("on")
                assert name == "aria-label" or "nan" not in value
                assert "inf" not in value or name == "aria-label"


def test_sixteen_series_have_sixteen_shapes_and_colours() -> None:
    """Shapes differ in outline and in being filled or hollow."""
    colours, shapes = set(), set()
    for series in range(svg.SERIES):
        drawn = parsed(svg.mark(series, 0, 0))
        kind = drawn.attrib.pop("class").split()
        colours.add(kind[1])
        shapes.add((drawn.tag, tuple(sorted(drawn.attrib.items())), "hollow" in kind))
    assert len(colours) == len(shapes) == svg.SERIES == 16
    style = (files("miracle_core.report") / "page.css").read_text(encoding="utf-8")
    for part in re.split(r"@media", style):  # light, dark and print
        found = dict(re.findall(r"--s(\d+): (#[0-9a-f]{6})", part))
        assert len(set(found.values())) == len(found) == 16
    assert all(f".{colour} {{ fill: var(--{colour})" in style for colour in colours)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_no_bar_or_whisker_ends_beyond_the_axis(values: list[float]) -> None:
    rows = [svg.Row("a", place, point) for place, point in enumerate(points(values))]
    found = parsed(svg.bars(rows, ""))
    last = max(float(e.attrib["x1"]) for e in found.iter("line") if e.attrib["class"] == "grid")
    ends = [float(e.attrib["x2"]) for e in found.iter("line") if e.attrib["class"] == "whisker"] + [
        float(e.attrib["x"]) + float(e.attrib["width"]) for e in found.iter("rect")
    ]
    # A bar is at least half a pixel wide.
    assert max(ends) <= last + 0.51


def test_each_row_has_its_own_band() -> None:
    rows = [svg.Row("a", 0, svg.Point(0.5)), svg.Row("b", 1, svg.Point(0.2))]
    chart = parsed(svg.forest(rows, "", [0.2, 0.1], ""))
    wide, narrow = (each for each in chart.iter("rect") if each.attrib["class"] == "band")
    assert float(wide.attrib["width"]) / float(narrow.attrib["width"]) == pytest.approx(2, rel=1e-2)
    assert float(narrow.attrib["y"]) == float(wide.attrib["y"]) + float(wide.attrib["height"])


def test_bars_are_as_long_as_their_values() -> None:
    rows = [svg.Row("a", 0, svg.Point(0.4)), svg.Row("b", 1, svg.Point(0.1, 0.05, 0.2))]
    found = [each for each in parsed(svg.bars(rows, "")).iter("rect")]
    first, second = (float(each.attrib["width"]) for each in found)
    assert first / second == pytest.approx(4, rel=1e-3)


def test_marks_stand_at_their_values() -> None:
    rows = [svg.Row("a", 0, svg.Point(value)) for value in (-0.1, 0.0, 0.3)]
    found = parsed(svg.forest(rows, "", [0.02] * 3, ""))
    a, b, c = (float(each.attrib["cx"]) for each in found.iter("circle"))
    assert (c - b) / (b - a) == pytest.approx(3, rel=1e-3)
    axis = next(each for each in found.iter("line") if each.attrib["class"] == "axis")
    assert float(axis.attrib["x1"]) == pytest.approx(b)
    band = next(each for each in found.iter("rect"))
    assert float(band.attrib["x"]) + float(band.attrib["width"]) / 2 == pytest.approx(b, abs=0.02)


def test_whiskers_end_at_the_interval() -> None:
    chart = svg.slices(["g"], [("a", 0, [svg.Point(0.2, 0.1, 0.4)])], "", "")
    whisker = next(each for each in parsed(chart).iter("line") if each.attrib["class"] == "wide s0")
    circle = next(parsed(chart).iter("circle"))
    y, low, high = (
        float(value) for value in (circle.attrib["cy"], whisker.attrib["y1"], whisker.attrib["y2"])
    )
    assert (low - y) / (y - high) == pytest.approx(0.5, rel=1e-2)


def test_text_is_never_markup() -> None:
    assert text("<b>&\"'") == "&lt;b&gt;&amp;&quot;&#x27;"
    assert text("a\x1b\x07b\u202ec\u2028d") == "a  bc d"
    found = ET.fromstring(table([text(HOSTILE)], [[text(HOSTILE)]]))
    assert [each.tag for each in found.iter()] == [
        "div", "table", "thead", "tr", "th", "tbody", "tr", "td",
    ]  # fmt: skip
