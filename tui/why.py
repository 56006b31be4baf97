"""Explain as text why an item is recommended: its scores, what built them, and similar items.

Systems differ in what they can explain. Each part appears only if the system provides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich.text import Text

from tui.display import bar, chip, colour, fitted, shown

if TYPE_CHECKING:
    from miracle_core.recommender.results import Recommendation, Recommended

# A longer text is cut, and a note says so.
TEXT = 1500
# How many of the nearest items are shown.
NEAR = 5
By = Literal["text", "vectors"]
_NEAREST: dict[By, str] = {"text": "nearest by text", "vectors": "nearest by the system's vectors"}
Near = Sequence[tuple[str, float]]


@dataclass(frozen=True)
class Explained:
    """The item to explain, and what is known about it besides the answer.

    Attributes:
        answer: the answer that contains the item.
        item: the recommended item.
        text: the item's text in the data.
        by: what the system measures similarity by, or None if it can't.
    """

    answer: Recommendation
    item: Recommended
    text: str
    by: By | None


def why_text(explained: Explained, near: Near | None, width: int) -> Text:
    """Return the text of the whole panel.

    Args:
        explained: the item, and what is known about it.
        near: titles and similarities of the nearest items; None while they are being computed.
        width: the width in cells.
    """
    answer, item, text = explained.answer, explained.item, explained.text
    out = Text()
    out.append(f"{shown(item.title)}\n", "bold")
    rank = f"rank {item.rank:,}" if item.rank else "no rank: the history holds it"
    out.append(f"{rank} · score {item.score:,.2f} · {shown(item.item_id)}\n", "dim")
    if item.scores:
        out.append_text(_interests(answer, item, width))
    if item.repeat:
        out.append(f"   {'in the history already':<19}{item.repeat:>+7.2f}\n", "dim")
    if item.boost:
        out.append(f"   {'boosted by the rules':<19}{item.boost:>+7.2f}\n", "dim")
    if item.cooccurrence:
        out.append(f"   {'taken by the same users':<19}{item.cooccurrence:>+7.2f}\n", "dim")
    if item.contributions:
        out.append_text(_builders(answer, item, width))
    if text:
        out.append("\nits text\n", "underline")
        out.append(f"{shown(text, TEXT)}\n")
        if len(text) > TEXT:
            out.append(f"({len(text):,} characters in all)\n", "dim")
    if explained.by is not None:
        out.append(f"\n{_NEAREST[explained.by]}\n", "underline")
        if near is None:
            out.append("…\n" * NEAR, "dim")
        elif not near:
            out.append("nothing else in the catalogue\n", "dim")
        for title, similarity in near or ():
            out.append_text(fitted(f"{similarity:.2f} {shown(title)}", width))
            out.append("\n")
    return out


def _interests(answer: Recommendation, item: Recommended, width: int) -> Text:
    """The item's score under each interest."""
    out = Text.assemble(("\nscore under each interest", "underline"), "\n")
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
    return out


def _builders(answer: Recommendation, item: Recommended, width: int) -> Text:
    """The history items that built the score, the largest part first.

    If the parts don't sum to the score, show what it would lose without each item.
    """
    trace = answer.trace
    out = Text.assemble(("\nbuilt by" if answer.additive else "\nrests on", "underline"))
    routed = ""
    if trace is not None:
        which: list[int | None] = [capsule.capsule for capsule in answer.capsules]
        column = which.index(item.capsule)
        routed = "routing \N{MULTIPLICATION SIGN} weight   agreement    "
    what = "adds" if answer.additive else "the score falls by, without it"
    out.append(f"  {routed}{what}\n", "dim")
    most = max((abs(part) for part in item.contributions), default=0.0)
    order = sorted(range(len(item.contributions)), key=lambda row: -abs(item.contributions[row]))
    taken, least = (39, 5) if trace is not None else (14, 15)
    title = max(min(width - taken - least, 40), 10)
    space = max(width - title - taken, 4)
    for row in order:
        place = row + answer.first
        adds = item.contributions[row]
        out.append_text(fitted(f"{place + 1:>2} {shown(answer.history[place].title)}", title))
        if trace is not None:
            out.append(
                f" {trace.routing[row, column]:.2f} \N{MULTIPLICATION SIGN} "
                f"{trace.importance[row]:.2f}   {trace.agreement[row, column]:>6.2f}  "
            )
        out.append(f" {adds:>+6.2f} ", "" if adds else "dim")
        out.append(bar(abs(adds) / most if most else 0.0, space), colour(item.capsule))
        out.append("\n")
    return out
