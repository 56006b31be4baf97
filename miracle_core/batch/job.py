"""Recommendations for many users to disk: streaming, resumable, shared among processes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from miracle_core.batch.parts import PartRecord, Parts, check_out
from miracle_core.batch.sources import Part, Problem, Source
from miracle_core.config import SeenRule
from miracle_core.errors import InputError, OtherProcessError
from miracle_core.locks import one_writer
from miracle_core.processes import ALONE, Processes
from miracle_core.progress import SILENT, Progress, stage
from miracle_core.ranking.rules import RuleError
from miracle_core.recommender import Recommender
from miracle_core.version import __version__

OnError = Literal["stop", "skip"]


@dataclass(frozen=True)
class BatchResult:
    """The result of a batch.

    Attributes:
        out: what was written.
        requests: how many users or requests were asked for.
        users: how many of them have a row.
        rows: rows written.
        problems: the requests that could not be answered, in order.
        resumed: whether parts of an earlier run were taken over.
        seconds: how long this run took.
    """

    out: Path
    requests: int
    users: int
    rows: int
    problems: tuple[Problem, ...]
    resumed: bool
    seconds: float

    def summary(self) -> dict[str, Any]:
        """The JSON contract of ``miracle recommend --out --json``."""
        return {
            "out": str(self.out),
            "requests": self.requests,
            "users": self.users,
            "rows": self.rows,
            "problems": [vars(problem) for problem in self.problems],
            "resumed": self.resumed,
            "seconds": self.seconds,
        }


def recommend_batch(
    recommender: Recommender,
    source: Source,
    out: str | Path,
    *,
    top_k: int = 10,
    seen: SeenRule | None = None,
    on_error: OnError = "stop",
    progress: Progress = SILENT,
    told: Callable[[str], None] = lambda _: None,
    processes: Processes = ALONE,
) -> BatchResult:
    """Write the lists of every request of a source.

    Parts are written beside the output as they are done, so that memory does not grow with the
    number of users, and the same call goes on after a kill. Several processes share the parts. The
    output is the same bytes in all cases.

    Args:
        recommender: what answers.
        source: the requests.
        out: a ``.parquet``, ``.csv`` or ``.jsonl`` file, or a folder of Parquet parts.
        top_k: how many items each.
        seen: what becomes of items that a history holds; None takes the recommender's rule.
        on_error: ``stop`` at the first request that can't be answered, or ``skip`` and report it.
        progress: shows the requests done (in each process its own).
        told: called with a message if there are parts of an earlier run.
        processes: those that share the work; each calls this with the same arguments.

    Raises:
        InputError: ``out`` can't be written to, ``top_k`` is below 1, a request can't be answered
            (with ``stop``), no request at all has a list, several processes are to share a source
            that can be read only once, or another process is writing there. What ``out`` held
            stays.
        OtherProcessError: another process of ``processes`` failed.
    """
    started = time.perf_counter()
    if top_k < 1:
        raise InputError(f"top_k is {top_k}", remedy="ask for at least one item")
    parts = Parts(check_out(out))
    if source.key is None and processes.size > 1:
        raise InputError(
            "standard input can't be shared among processes",
            where="--history -",
            remedy="write the requests to a file",
        )
    rule = seen or recommender.seen
    key = None
    if source.key is not None:
        asked: tuple[object, ...] = (source.key, recommender.key(), top_k, rule, parts.format)
        asked = (*asked, recommender.rules, __version__)
        key = hashlib.sha256("\n".join(map(str, asked)).encode()).hexdigest()
    with ExitStack() as held:
        resumed = _begin(parts, key, processes, held)
        if resumed:
            told(f"going on; parts that are there already: {len(parts.records()):,}")

        def check(problems: tuple[Problem, ...]) -> None:
            if problems and on_error == "stop":
                raise problems[0].error()

        def mine(number: int) -> bool:
            return number % processes.size == processes.rank and not parts.has(number)

        def work() -> None:
            for record in parts.records():  # an earlier run may have skipped problems
                check(record.problems)
            # With several processes the total of each one's share is not known.
            total = source.total if processes.size == 1 else None
            with stage(progress, "recommend", total, "users"):
                for part in source.parts(mine):
                    check(part.problems)
                    parts.write(*_answered(recommender, part, top_k, rule))
                    progress.advance(part.size)

        _together(work, processes)
        processes.on_first(lambda: None)  # every part is there
        records = parts.records()
        processes.on_first(lambda: _finish(parts, records, recommender, rule))
    return BatchResult(
        parts.out,
        sum(record.requests for record in records),
        sum(record.users for record in records),
        sum(record.rows for record in records),
        tuple(problem for record in records for problem in record.problems),
        resumed,
        time.perf_counter() - started,
    )


def _begin(parts: Parts, key: str | None, processes: Processes, held: ExitStack) -> bool:
    """Make the folder of parts and lock it; true if it holds parts of this batch already."""
    found: list[bool] = []

    def begin() -> None:
        held.enter_context(one_writer(parts.out))
        found.append(parts.begin(key))

    processes.on_first(begin)
    (resumed,) = processes.any(bool(found and found[0]))
    return resumed


def _finish(
    parts: Parts, records: list[PartRecord], recommender: Recommender, rule: SeenRule
) -> None:
    """Put the output in its place, unless it would empty what is there.

    Raises:
        InputError: see :func:`no_lists`.
    """
    if any(record.users for record in records):
        parts.finish()
        return
    parts.discard()
    requests = sum(record.requests for record in records)
    problems = [problem for record in records for problem in record.problems]
    raise no_lists(recommender, rule, requests, problems, str(parts.out))


def no_lists(
    recommender: Recommender,
    rule: SeenRule,
    requests: int,
    problems: Sequence[Problem],
    out: str,
) -> InputError:
    """Why no request of a source has a list.

    Args:
        recommender: what answered.
        rule: the seen rule that it ranked by.
        requests: how many there were.
        problems: those that couldn't be answered.
        out: where the lists would have been written.

    Returns:
        The error; a :class:`~miracle_core.ranking.rules.RuleError` if rules may be the reason.
    """
    what = f"none of the {requests:,} users has a list, so nothing is written"
    if len(problems) == requests:
        remedy = f"mend the requests; the first: {problems[0].error()}"
        return InputError(what, where=out, remedy=remedy)
    loosen = ["the seen rule (leave-out)"] if rule == "leave-out" else []
    if asked := sorted(recommender.rules.model_fields_set):
        remedy = "loosen " + " or ".join(["them", *loosen])
        return RuleError(f"{what} to {out}", *asked, remedy=remedy)
    return InputError(what, where=out, remedy=f"loosen {loosen[0]}" if loosen else None)


def _together(work: Callable[[], None], processes: Processes) -> None:
    """Do this process's share. If any process fails, all end.

    Raises:
        OtherProcessError: another process failed; its own error says why.
    """
    failed = True
    try:
        work()
        failed = False
    finally:
        (any_failed,) = processes.any(failed)
    if any_failed:
        raise OtherProcessError("another process failed, and says why")


def _answered(recommender: Recommender, part: Part, top_k: int, rule: SeenRule) -> Any:
    """A part's rows, and its record."""
    found = recommender.answer(part.histories, part.user_ids, top_k, rule)
    table = found.table()
    users = int((found.lists.items[:, :1] >= 0).sum())
    record = PartRecord(part.number, part.size, users, table.height, part.problems)
    return table, record
