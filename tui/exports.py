"""Export what is on screen as JSON, as CSV or as a command line."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tui.exploration import Exploration
from tui.on_disk import Source

if TYPE_CHECKING:
    from miracle_core.recommender import Recommender
    from miracle_core.recommender.results import Trace

Table = tuple[Sequence[str], Iterable[Sequence[Any]]]
# A spreadsheet reads a cell that starts with one of these as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def exploration_json(exploration: Exploration) -> dict[str, Any]:
    """The answer with the fields of ``miracle recommend --json``, plus how it was computed."""
    answer = exploration.answer
    assert answer is not None
    trace, named = answer.trace, bool(answer.capsules)
    capsules = [
        {"capsule": c.capsule, "strength": c.strength, "label": c.label} for c in answer.capsules
    ]
    return {
        "seen": exploration.rule,
        "history": [
            {
                "item_id": item.item_id,
                "title": item.title,
                **({"capsule": item.capsule} if named else {}),
            }
            for item in answer.history
        ],
        **({"capsules": capsules} if named else {}),
        "items": [
            {
                "rank": item.rank,
                "item_id": item.item_id,
                "title": item.title,
                "score": item.score,
                **({"capsule": item.capsule, "scores": item.scores} if named else {}),
                "contributions": item.contributions,
                "repeat": item.repeat,
                "boost": item.boost,
                "cooccurrence": item.cooccurrence,
            }
            for item in exploration.listed
        ],
        "first": answer.first,
        **({} if trace is None else _routing(trace)),
    }


def _routing(trace: Trace) -> dict[str, Any]:
    return {
        "similarity": trace.similarity.tolist(),
        "routing": trace.routing.tolist(),
        "importance": trace.importance.tolist(),
        "agreement": trace.agreement.tolist(),
    }


def exploration_table(exploration: Exploration) -> Table:
    """The listed recommendations as a table."""
    named = bool(exploration.answer and exploration.answer.capsules)
    return ("rank", "item_id", "title", "score", *(["capsule"] if named else [])), [
        (item.rank, item.item_id, item.title, item.score, *([item.capsule] if named else []))
        for item in exploration.listed
    ]


def csv_text(table: Table) -> str:
    """A table as CSV (RFC 4180). A quote is put before text that a spreadsheet would execute."""
    head, rows = table
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([_harmless(cell) for cell in row])
    return out.getvalue()


def command(source: Source, exploration: Exploration, recommender: Recommender) -> str:
    """The shell command that gives the same answer."""
    words = ["miracle", "recommend", str(source.run)]
    words += [] if source.data is None else ["--data", str(source.data)]
    for place in exploration.countable:
        entry = exploration.history.entries[place]
        if entry.item is None:
            words += [f"--title={entry.title}"]
        else:
            words += [f"--item={recommender.item_id(entry.item)}"]
    words += ["--top-k", str(exploration.top_k)]
    if exploration.seen is not None:
        words += ["--seen", exploration.seen]
    words += source.options
    return shlex.join(words)


def _harmless(cell: Any) -> Any:
    if isinstance(cell, str) and cell.startswith(_FORMULA):
        return "'" + cell
    return cell
