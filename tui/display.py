"""Make text from data safe to display, and draw the marks for capsules and values."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

from rich.style import Style
from rich.text import Text

# Longer texts are cut before they are measured: no line on a screen is longer.
LINE = 400
# Invisible characters that some scripts need, but only between letters.
_JOINERS = "\u200c\u200d"
# These change the width of the character before them, and terminals disagree on the width.
_VARIATIONS = frozenset(map(chr, range(0xFE00, 0xFE10)))
_MARKS_ON_ONE_LETTER = 4

# Okabe and Ito's colours, distinct under any colour blindness. Dark text is readable on all.
_COLOURS = ("#56b4e9", "#e69f00", "#2fb58a", "#f0e442", "#cc79a7", "#ef7f45", "#8fa8ff", "#b8b8b8")
_SHAPES = "●▲■◆★▼○△□◇☆▽"
# Cividis in nine steps. Its lightness rises evenly, so it works without colour vision.
_HEAT = (
    "#00224e",
    "#123570",
    "#3b496c",
    "#575d6d",
    "#707173",
    "#8a8678",
    "#a59c74",
    "#c3b369",
    "#e1cc55",
)
_GLYPHS = " ░▒▓█"


def shown(text: str, limit: int = LINE) -> str:
    """Return text as one line that can't move the cursor, change colours or reverse other text.

    Control characters become spaces. Invisible characters, direction marks and parts of broken
    characters are removed.

    Args:
        text: any text, such as a title.
        limit: the most characters to keep; a longer text ends with an ellipsis.
    """
    kept: list[str] = []
    marks = 0
    # Read beyond the limit, because removed characters make room.
    for character in text[: 2 * limit]:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if category in ("Cc", "Zl", "Zp"):
            kept.append(" ")
        elif character in _JOINERS:
            if kept and unicodedata.category(kept[-1])[0] in "LM":
                kept.append(character)
        elif (
            category not in ("Cf", "Cs", "Co", "Cn")
            and character not in _VARIATIONS
            and marks <= _MARKS_ON_ONE_LETTER
        ):
            kept.append(character)
    line = " ".join("".join(kept).split())
    if len(line) > limit or len(text) > 2 * limit:
        line = line[: limit - 1].rstrip() + "…"
    return line


def fitted(text: str | Text, width: int, *, right: bool = False) -> Text:
    """Return one line exactly ``width`` cells wide, cut with an ellipsis or padded with spaces."""
    if width < 1:
        return Text("")
    # Assembling turns the text's own style into a span; rendering would drop it otherwise.
    line = Text.assemble(text)
    line.no_wrap = True
    line.truncate(width, overflow="ellipsis")
    missing = width - line.cell_len
    if missing > 0:
        if right:
            line.pad_left(missing)
        else:
            line.pad_right(missing)
    return line


def shape(capsule: int) -> str:
    """The capsule's shape."""
    return _SHAPES[capsule // len(_COLOURS) % len(_SHAPES)]


def colour(capsule: int | None) -> str:
    """The capsule's colour; empty, and so the colour of the surrounding text, without a capsule."""
    if capsule is None:
        return ""
    return _COLOURS[capsule % len(_COLOURS)]


def chip(capsule: int | None) -> Text:
    """A capsule's mark: colour, shape and number, at least six cells wide.

    It is empty if there is no capsule.
    """
    if capsule is None:
        return Text("")
    return Text(f" {shape(capsule)} {capsule:<2} ", Style(color="#101010", bgcolor=colour(capsule)))


def heat_style(level: float) -> Style:
    """The colours of a value between 0 and 1."""
    step = min(int(level * len(_HEAT)), len(_HEAT) - 1)
    return Style(color="#ffffff" if step < 5 else "#101010", bgcolor=_HEAT[step])


def heat_cell(text: str, value: float, width: int, *, colours: bool) -> Text:
    """Draw a cell of a heatmap.

    Args:
        text: the number to show.
        value: the heat, from 0 to 1.
        width: the width in cells; the last one stays blank as a separator.
        colours: whether the terminal shows colours; if not, the cell is filled with a shade.
    """
    level = min(max(value, 0.0), 1.0)
    if not colours:
        fill = _GLYPHS[round(level * (len(_GLYPHS) - 1))]
        return Text(f"{text} {fill * max(width - len(text) - 2, 0)} ")
    return Text.assemble((f" {text}".ljust(width - 1)[: width - 1], heat_style(level)), " ")


def heat_scale(low: str, high: str, *, colours: bool) -> Text:
    """The legend of a heatmap: its colours (or shades) from ``low`` to ``high``."""
    if not colours:
        return Text(f"{low} {''.join(glyph * 2 for glyph in _GLYPHS)} {high}")
    blocks = [("  ", Style(bgcolor=step)) for step in _HEAT]
    return Text.assemble(f"{low} ", *blocks, f" {high}")


def bar(share: float, width: int) -> str:
    """A bar for a share from 0 to 1, at most ``width`` cells long. Any share above 0 is visible."""
    eighths = max(round(min(share, 1.0) * width * 8), int(share > 0))
    parts: tuple[str, ...] = ("", *"▏▎▍▌▋▊▉")
    return "█" * (eighths // 8) + parts[eighths % 8]


def held_out_rank(rank: int) -> str:
    """The rank of a held-out item as text; 0 means that the seen rule leaves it out."""
    return f"{rank:,}" if rank else "out"


def flexible(widths: list[int], total: int) -> list[int]:
    """Widths that fill ``total`` cells; negative ones share the remaining cells in proportion."""
    wishes = -sum(width for width in widths if width < 0)
    left = max(total - sum(width for width in widths if width > 0), 0)
    if not wishes:
        return widths
    ends = [0]
    for width in widths:
        ends.append(ends[-1] + max(-width, 0))
    shares = [right * left // wishes - start * left // wishes for start, right in pairwise(ends)]
    return [width if width > 0 else part for width, part in zip(widths, shares, strict=True)]
