"""The interests of a history as text, one per line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from tui.display import bar, chip, colour, fitted, shown

if TYPE_CHECKING:
    from miracle_core.recommender.results import Recommendation

# From this width on, there is room for the number of items.
_ROOM = 40


def interests_text(answer: Recommendation, width: int) -> Text:
    """Each interest with its label, the number of items that activate it, and its strength.

    Args:
        answer: the answer.
        width: the cells for the label and the number of items.
    """
    out = Text()
    # In some systems, items do not activate interests.
    activated = any(item.capsule is not None for item in answer.history)
    for capsule in answer.capsules:
        out.append_text(chip(capsule.capsule))
        items = len(capsule.items)
        told = ""
        if activated and width >= _ROOM:
            told = f"{items:>3} item{' ' if items == 1 else 's'}"
        out.append_text(fitted(f" {shown(capsule.label)}", max(width - len(told) - 2, 8)))
        out.append(f"{told} {capsule.strength:.2f} ")
        out.append(bar(capsule.strength, 5), colour(capsule.capsule))
        out.append("\n")
    return out
