"""HTML made of text that is never read as HTML: everything goes through :func:`text`."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from html import escape


def text(value: object) -> str:
    """Any text as HTML shows it: escaped, and without characters that turn others around.

    Control characters become spaces; invisible ones vanish, except those that join letters.
    """
    shown = []
    for character in str(value):
        category = unicodedata.category(character)
        if category in ("Cc", "Zl", "Zp"):
            shown.append(" ")
        elif category not in ("Cf", "Cs") or character in "\u200c\u200d":
            shown.append(character)
    return escape("".join(shown))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table; what it is given is HTML already.

    Args:
        columns: the headings.
        rows: the cells.
        left: how many columns stand to the left; numbers stand to the right.
    """

    def cells(tag: str, own: Sequence[str]) -> str:
        kinds = ["" if place < left else ' class="n"' for place in range(len(own))]
        return "".join(
            f"<{tag}{kind}>{cell}</{tag}>" for kind, cell in zip(kinds, own, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="wide-table"><table><thead><tr>{cells("th", columns)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def figure(chart: str, caption: str) -> str:
    """A chart with words below it; both are HTML already."""
    return f"<figure>{chart}<figcaption>{caption}</figcaption></figure>"


def bullets(items: Sequence[str]) -> str:
    """A list of items that are HTML already."""
    return f"<ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"


def folded(summary: str, body: str) -> str:
    """What a reader opens by a click; the body is HTML already, the summary text."""
    return f"<details><summary>{text(summary)}</summary>{body}</details>"
