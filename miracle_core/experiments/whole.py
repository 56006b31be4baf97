"""A whole experiment: make its folder or go on with it, do the runs, write the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miracle_core.errors import InputError
from miracle_core.experiments import statistics, tables
from miracle_core.experiments.definition import Experiment
from miracle_core.experiments.folder import PLAN, RESULT, begin
from miracle_core.experiments.plan import RUNS, Data, Plan, Run, reasons
from miracle_core.experiments.results import collect, unfinished
from miracle_core.experiments.reuse import done_elsewhere, take
from miracle_core.experiments.running import Failure, Watcher, do_all, shard
from miracle_core.files import holds_something, read_json, write_json, write_text
from miracle_core.locks import one_writer

Share = tuple[int, int]


@dataclass(frozen=True)
class Conducted:
    """How an experiment went.

    Attributes:
        found: what ``experiment.json`` holds; None while runs are missing.
        missing: runs that are not done: of other shares, or stopped.
        failures: runs that could not be done.
        interrupted: whether it was stopped.
        taken: the runs that were copied from other experiments.
    """

    found: dict[str, Any] | None
    missing: tuple[Run, ...]
    failures: tuple[Failure, ...]
    interrupted: bool
    taken: tuple[str, ...] = ()


def conduct(
    plan: Plan,
    out: Path,
    *,
    jobs: int = 1,
    threads: int | None = None,
    share: Share = (1, 1),
    should_stop: Callable[[], bool] = lambda: False,
    watcher: Watcher | None = None,
    reuse: Sequence[Path] = (),
) -> Conducted:
    """Do the runs of an experiment that are missing, and write its tables once all are done.

    Args:
        plan: the experiment.
        out: its folder, new or begun by the same experiment.
        jobs: how many runs at a time.
        threads: of each run.
        share: which share of the runs, from 1, and of how many.
        should_stop: asked after each step of a training.
        watcher: called for each run that begins and ends.
        reuse: folders of other experiments; runs that are the same are copied from them.

    Raises:
        InputError: fewer than two systems can be run, the folder holds something else (see
            :func:`miracle_core.experiments.folder.begin`), another process does the same share, or
            one of ``reuse`` is no experiment's folder.
    """
    ready = list(dict.fromkeys(run.system for run in plan.runs if run.split is not None))
    if len(ready) < 2:
        raise InputError(
            f"a table compares at least two systems, and only {', '.join(ready)} can be run: "
            + "; ".join(reasons(plan.unavailable)),
            where=plan.experiment.name,
            remedy="see miracle experiment NAME --dry-run, and miracle models",
        )
    elsewhere = done_elsewhere(plan, out, reuse)
    begin(plan, out)
    number, of = share
    (out / RUNS).mkdir(exist_ok=True)
    with one_writer(out / RUNS / f"{number}-of-{of}"):
        runs = shard(plan.chains(), number, of)
        taken = tuple(take(plan, out, runs, elsewhere))
        failures, stopped = do_all(
            runs,
            out,
            jobs=jobs,
            threads=threads,
            should_stop=should_stop,
            watcher=watcher,
        )
    lost = {failure.run for failure in failures}
    missing = tuple(run for run in unfinished(plan, out) if run.name not in lost)
    if stopped or missing:
        return Conducted(None, missing, tuple(failures), stopped, taken)
    found = collect(plan, out, failures)
    makers = {
        "table.md": tables.markdown,
        "table.csv": tables.as_csv,
        "table.tex": tables.latex,
    }
    _write(found, out, makers)
    return Conducted(found, (), tuple(failures), False, taken)


def count(experiment: Experiment, data: list[Data], out: Path | None) -> dict[str, Any]:
    """An experiment of statistics; with ``out`` its folder is written.

    Raises:
        InputError: ``out`` holds something else.
    """
    found = statistics.statistics(experiment, data, out)
    if out is None:
        return found
    if holds_something(out):
        kept = read_json(out / RESULT) if (out / RESULT).is_file() else {}
        name = kept.get("experiment") if isinstance(kept, dict) else None
        if name != experiment.name or (out / PLAN).exists():
            raise InputError(
                f"already holds {f'the experiment {name!r}' if name else 'something else'}, and "
                f"this is {experiment.name!r}",
                where=str(out),
                remedy="choose another --out",
            )
    makers = {
        "table.md": statistics.markdown,
        "table.csv": statistics.as_csv,
        "table.tex": statistics.latex,
    }
    _write(found, out, makers)
    return found


def _write(
    found: dict[str, Any], out: Path, makers: Mapping[str, Callable[[Mapping[str, Any]], str]]
) -> None:
    with one_writer(out / RESULT):
        for name, make in makers.items():
            write_text(out / name, make(found))
        write_json(out / RESULT, found)
