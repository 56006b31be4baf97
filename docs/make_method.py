"""Draw docs/pictures/method.svg: from titles to recommendations, with the paper's equations.

python docs/make_method.py
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

PICTURE = Path(__file__).resolve().parent / "pictures" / "method.svg"
# What stands in a box: its name, what it does (two lines), which equations say so.
STEPS = (
    ("titles", "the history,", "oldest first", ""),
    ("text encoder", "a frozen language", "model: vectors t", "eq. 1"),
    ("adaptor", "gated experts:", "item vectors x", "eq. 2-4"),
    ("Transformer", "items in the context", "of the history: h", "eq. 5-6"),
    ("capsules", "each item activates", "the nearest one", "eq. 7-8"),
    ("routing", "active capsules share", "the items out", "eq. 9-14"),
    ("interests", "one vector for each", "active capsule: u", "eq. 13"),
    ("scores", "every item, by the", "interest nearest to it", "eq. 17"),
)
COLUMNS = 4
WIDE, HIGH, GAP, EDGE = 190, 96, 46, 20
# Boxes that are learned are blue, what goes in and comes out is white.
FILLED = {"adaptor", "Transformer", "capsules", "routing"}


def drawn() -> str:
    """The picture as SVG: two rows, read from left to right."""
    width = 2 * EDGE + COLUMNS * WIDE + (COLUMNS - 1) * GAP
    height = 2 * EDGE + 2 * HIGH + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        ' font-family="Helvetica, Arial, sans-serif" font-size="14" text-anchor="middle">',
        "<title>From titles to recommendations</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8"'
        ' markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="#5b6572"/></marker></defs>',
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    corners = [_corner(place) for place in range(len(STEPS))]
    lines += [_arrow(*pair) for pair in pairwise(corners)]
    for (x, y), (name, first, second, equations) in zip(corners, STEPS, strict=True):
        colour = "#dcebfb" if name in FILLED else "#f6f7f9"
        middle = x + WIDE // 2
        lines += [
            f'<rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="8" fill="{colour}"'
            ' stroke="#5b6572"/>',
            f'<text x="{middle}" y="{y + 24}" font-weight="bold" fill="#17202b">{name}</text>',
            f'<text x="{middle}" y="{y + 45}" fill="#17202b">{escape(first)}</text>',
            f'<text x="{middle}" y="{y + 63}" fill="#17202b">{escape(second)}</text>',
            f'<text x="{middle}" y="{y + 84}" font-size="12" fill="#5b6572">{equations}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _corner(place: int) -> tuple[int, int]:
    row, column = divmod(place, COLUMNS)
    return EDGE + column * (WIDE + GAP), EDGE + row * (HIGH + GAP)


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """A line from one box to the next; from the end of a row to the beginning of the other."""
    style = 'fill="none" stroke="#5b6572" stroke-width="1.5" marker-end="url(#tip)"'
    (x, y), (to_x, to_y) = start, end
    if y == to_y:
        return f'<path d="M{x + WIDE} {y + HIGH // 2}H{to_x - 2}" {style}/>'
    half = y + HIGH + GAP // 2
    return f'<path d="M{x + WIDE // 2} {y + HIGH}V{half}H{to_x + WIDE // 2}V{to_y - 2}" {style}/>'


if __name__ == "__main__":
    PICTURE.write_text(drawn(), encoding="utf-8")
