"""A capsule described as text: its items, its most similar capsules, and its problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.text import Text

from tui.display import chip, fitted, shown

if TYPE_CHECKING:
    from miracle_core.recommender.results import CapsuleSummary, CapsuleUse

# Two capsules count as the same if the cosine of their base vectors is above this.
COLLAPSED = 0.9
# A capsule that takes a larger share of the items than this leaves too few to the others.
MOST = 0.5


def fault(capsule: CapsuleSummary, use: CapsuleUse | None) -> tuple[str, str]:
    """Say what is wrong with a capsule, as a word and as a sentence; both empty if nothing is."""
    if capsule.neighbours and capsule.neighbours[0][1] > COLLAPSED:
        other, cosine = capsule.neighbours[0]
        return "collapsed", f"It has become the same as capsule {other} (cosine {cosine:.2f})."
    if capsule.share > MOST:
        return "takes most", f"It takes {capsule.share:.0%} of the items."
    users = float(use.users[capsule.capsule]) if use is not None else None
    if capsule.n_items == 0 and users in (None, 0.0):
        who = "No item" if users is None else "No item and no user"
        return "unused", f"{who} activates it; the items below are the nearest."
    return "", ""


def capsule_text(
    capsule: CapsuleSummary,
    use: CapsuleUse | None,
    label: Callable[[int], str],
    title: Callable[[int], str],
    width: int,
) -> Text:
    """Describe one capsule in full.

    Args:
        capsule: the capsule.
        use: how users use the capsules, or None while this is being computed.
        label: returns a capsule's label.
        title: returns an item's title.
        width: the width in cells.
    """
    out = Text.assemble(chip(capsule.capsule), (f" {shown(capsule.label)}\n", "bold"))
    sentence = fault(capsule, use)[1]
    if sentence:
        out.append(f"! {sentence}\n", "bold")
    users = "…" if use is None else f"{float(use.users[capsule.capsule]):.1%}"
    items = "…" if use is None else f"{float(use.items[capsule.capsule]):.1%}"
    out.append(
        f"{capsule.n_items:,} items, {capsule.share:.1%} of the catalogue\n"
        f"active for {users} of the users; woken by {items} of their items\n",
        "dim",
    )
    out.append("\nmost characteristic items", "underline")
    out.append("\n")
    for number, item in enumerate(capsule.items, 1):
        out.append_text(fitted(f"{number:>2} {shown(title(item))}", width))
        out.append("\n")
    out.append("\nmost similar capsules", "underline")
    out.append("\n")
    for other, cosine in capsule.neighbours:
        out.append_text(chip(other))
        out.append_text(fitted(f" {cosine:>5.2f}  {shown(label(other))}", max(width - 7, 10)))
        out.append("\n")
    return out
