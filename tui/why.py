"""Why an item is recommended, as text: its scores, who built the winner, what is near it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from tui.display import bar, chip, colour, fitted, shown

if TYPE_CHECKING:
    from miracle_core.recommender.results import Recommendation, Recommended

# A text that goes on longer than this is cut, and says so.
TEXT = 1500
# How many items near it are shown.
NEAR = 5


def why_text(
    answer: Recommendation,
    item: Recommended,
    text: str,
    near: Sequence[tuple[str, float]] | None,
    width: int,
) -> Text:
    """The whole panel.

    Args:
        answer: the answer that the item is part of.
        item: the recommended item.
        text: the text that its vector is made of.
        near: titles and similarities of the items nearest to it; None while they are looked for.
        width: cells.
    """
    out = Text()
    out.append(f"{shown(item.title)}\n", "bold")
    out.append(f"rank {item.rank} · score {item.score:.2f} · {shown(item.item_id)}\n", "dim")
    out.append("\nscore under each interest", "underline")
    out.append("\n")
    best = max(item.scores)
    space = max(width - 42, 4)
    for capsule, score in zip(answer.capsules, item.scores, strict=True):
        out.append_text(chip(capsule.capsule))
        out.append_text(fitted(f" {shown(capsule.label)}", 19))
        wins = capsule.capsule == item.capsule
        share = score / best if best > 0 else 0.0
        out.append(f"{score:>7.2f} ")
        out.append(bar(max(share, 0.0), space), colour(capsule.capsule))
        out.append(" wins" if wins else "", "bold")
        out.append("\n")
    if item.repeat:
        out.append(f"   {'in the history already':<19}{item.repeat:>+7.2f}\n", "dim")
    out.append_text(_builders(answer, item, width))
    out.append("\nits text\n", "underline")
    out.append(f"{shown(text, TEXT)}\n")
    if len(text) > TEXT:
        out.append(f"({len(text):,} characters in all)\n", "dim")
    out.append("\nnearest by text\n", "underline")
    if near is None:
        out.append("…\n" * NEAR, "dim")
    elif not near:
        out.append("nothing else in the catalogue\n", "dim")
    for title, similarity in near or ():
        out.append_text(fitted(f"{similarity:.2f} {shown(title)}", width))
        out.append("\n")
    return out


def _builders(answer: Recommendation, item: Recommended, width: int) -> Text:
    """The history items that built the winner, the largest part first."""
    trace = answer.trace
    column = [capsule.capsule for capsule in answer.capsules].index(item.capsule)
    out = Text.assemble(
        ("\nbuilt by", "underline"),
        ("  routing \N{MULTIPLICATION SIGN} weight · agreement → adds\n", "dim"),
    )
    most = max((abs(part) for part in item.contributions), default=0.0)
    order = sorted(range(len(item.contributions)), key=lambda row: -abs(item.contributions[row]))
    title = max(min(width - 44, 40), 10)
    space = max(width - title - 39, 4)
    for row in order:
        place = row + trace.first
        adds = item.contributions[row]
        out.append_text(fitted(f"{place + 1:>2} {shown(answer.history[place].title)}", title))
        out.append(
            f" {trace.routing[row, column]:.2f} \N{MULTIPLICATION SIGN} {trace.importance[row]:.2f}"
            f" · {trace.agreement[row, column]:>6.2f} → {adds:>+6.2f} "
        )
        out.append(bar(abs(adds) / most if most else 0.0, space), colour(item.capsule))
        out.append("\n")
    return out
