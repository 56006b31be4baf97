"""What is on screen as JSON, CSV or a command line."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.exploration import Exploration

if TYPE_CHECKING:
    from miracle_core.recommender import Recommender

Table = tuple[Sequence[str], Iterable[Sequence[Any]]]
# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def exploration_json(exploration: Exploration) -> dict[str, Any]:
    """The answer with the fields of ``miracle recommend --json``, and how it came about."""
    answer = exploration.answer
    assert answer is not None
    trace = answer.trace
    return {
        "history": [
            {"item_id": item.item_id, "title": item.title, "capsule": item.capsule}
            for item in answer.history
        ],
        "capsules": [
            {"capsule": c.capsule, "strength": c.strength, "label": c.label}
            for c in answer.capsules
        ],
        "items": [
            {
                "rank": item.rank,
                "item_id": item.item_id,
                "title": item.title,
                "score": item.score,
                "capsule": item.capsule,
                "scores": item.scores,
                "contributions": item.contributions,
                "repeat": item.repeat,
            }
            for item in exploration.listed
        ],
        "first": trace.first,
        "similarity": trace.similarity.tolist(),
        "routing": trace.routing.tolist(),
        "importance": trace.importance.tolist(),
        "agreement": trace.agreement.tolist(),
    }


def exploration_table(exploration: Exploration) -> Table:
    """The recommendations listed."""
    return ("rank", "item_id", "title", "score", "capsule"), [
        (item.rank, item.item_id, item.title, item.score, item.capsule)
        for item in exploration.listed
    ]


def csv_text(table: Table) -> str:
    """A table as CSV (RFC 4180, UTF-8); text that a spreadsheet would run gets a quote first."""
    head, rows = table
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([_harmless(cell) for cell in row])
    return out.getvalue()


def command(run: Path, exploration: Exploration, recommender: Recommender) -> str:
    """The command that gives the same answer in a shell."""
    words = ["miracle", "recommend", str(run)]
    for place in exploration.countable:
        entry = exploration.history.entries[place]
        if entry.item is None:
            words += [f"--title={entry.title}"]
        else:
            words += [f"--item={recommender.item_id(entry.item)}"]
    words += ["--top-k", str(exploration.top_k)]
    if exploration.hide_seen:
        words.append("--exclude-seen")
    return shlex.join(words)


def _harmless(cell: Any) -> Any:
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return "'" + cell
    return cell
