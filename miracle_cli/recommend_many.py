"""``miracle recommend --users`` and ``--history``: lists for many at once."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from miracle_cli.output import message, print_fields, print_json, printing
from miracle_core.errors import InputError

if TYPE_CHECKING:
    from miracle_core.batch import BatchResult, Source
    from miracle_core.batch.sources import Problem
    from miracle_core.config import SeenRule
    from miracle_core.ranking.rules import Rules
    from miracle_core.recommender import Recommender

# So many bad requests are named; --json and the count tell of all.
NAMED = 5


class OnError(StrEnum):
    """What becomes of a request that can't be answered."""

    stop = "stop"
    skip = "skip"


@dataclass(frozen=True)
class Asking:
    """The options of many lists, as typed.

    Attributes:
        run: the run folder.
        users: ``all``, or a file of ids.
        history: a file of JSON requests, or ``-``.
        out: where lists are written; None prints them.
        on_error: stop, or skip and report.
        top_k: items a list.
        data: another Dataset.
        device: the name of where the model runs.
        as_json: print the summary as JSON.
    """

    run: Path
    users: str | None
    history: str | None
    out: Path | None
    on_error: OnError
    top_k: int
    data: Path | None
    device: str
    as_json: bool


def recommend_many(asked: Asking, seen: SeenRule | None, rules: Rules | None) -> None:
    """Write the lists, or print them as JSON lines where no output is named.

    Raises:
        InputError: options that don't go together, or what the batch raises.
    """
    if (asked.users is None) == (asked.history is None):
        raise InputError(
            "whose lists?" if asked.users is None else "are two sources of histories",
            where="miracle recommend" if asked.users is None else "--users and --history",
            remedy="say --users all, --users FILE, or --history FILE",
        )
    if asked.out is None and asked.users is not None:
        raise InputError(
            "lists of many users go to a file",
            where=f"--users {asked.users}",
            remedy="add --out FILE.parquet",
        )
    if asked.out is None and asked.as_json:
        raise InputError(
            "without --out the lists themselves are printed, as JSON lines",
            where="--json",
            remedy="leave it out, or add --out",
        )
    from miracle_cli.progress import RichProgress
    from miracle_core import Recommender
    from miracle_core.batch import check_out, recommend_batch
    from miracle_core.processes import processes

    if asked.out is not None:
        check_out(asked.out)  # before anything slow begins
    progress, together = RichProgress(), processes(asked.device, "--device")
    recommender = Recommender.load(
        asked.run,
        data=asked.data,
        seen=seen,
        device=together.device,
        progress=progress,
        rules=rules,
    )
    for note in recommender.notes:
        message(note)
    source = _source(asked, recommender)
    if asked.out is None:
        _print(recommender, source, asked)
        return
    found = recommend_batch(
        recommender,
        source,
        asked.out,
        top_k=asked.top_k,
        on_error=asked.on_error.value,
        progress=progress,
        told=message,
        processes=together,
    )
    _report(found, asked)


def _source(asked: Asking, recommender: Recommender) -> Source:
    from miracle_core.batch import all_users, json_requests, named_users

    if asked.users is not None:
        if asked.users == "all":
            return all_users(recommender)
        return named_users(recommender, asked.users)
    if asked.history == "-":
        if isinstance(sys.stdin, io.TextIOWrapper):  # whatever the terminal's encoding is
            sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
        return json_requests(recommender, None, sys.stdin)
    return json_requests(recommender, asked.history)


def _print(recommender: Recommender, source: Source, asked: Asking) -> None:
    """The rows as JSON lines, part by part."""
    from miracle_core.batch import no_lists

    requests, rows = 0, 0
    problems: list[Problem] = []
    for part in source.parts(lambda number: True):
        for problem in part.problems:
            if asked.on_error is OnError.stop:
                raise problem.error()
            message(f"skipped: {problem.error()}")
        table = recommender.answer(part.histories, part.user_ids, asked.top_k).table()
        with printing():
            sys.stdout.write(table.write_ndjson())
        requests, rows = requests + part.size, rows + table.height
        problems += part.problems
    if not rows:
        raise no_lists(recommender, recommender.seen, requests, problems, "standard output")


def _report(found: BatchResult, asked: Asking) -> None:
    for problem in found.problems[:NAMED]:
        message(f"skipped: {problem.error()}")
    if len(found.problems) > NAMED:
        message(f"skipped {len(found.problems) - NAMED:,} more (--json names all)")
    if asked.as_json:
        print_json(found.summary())
        return
    without = found.requests - found.users - len(found.problems)
    print_fields(
        {
            "written to": str(found.out),
            "users": found.users,
            "rows": found.rows,
            **({"skipped": len(found.problems)} if found.problems else {}),
            **({"without a candidate": without} if without else {}),
            "seconds": f"{found.seconds:.1f}",
        }
    )
