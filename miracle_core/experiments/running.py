"""Runs done one after another, or several at a time: each is trained, ranked, and kept."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

from miracle_core.config import make_settings
from miracle_core.errors import InputError, MiracleError
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.evaluation.user_results import (
    TOP,
    read_about,
    weights_hash,
    write_user_results,
)
from miracle_core.experiments.folder import progress, rank_file
from miracle_core.experiments.plan import Run
from miracle_core.report.gather import gather
from miracle_core.runs.folder import RunFolder
from miracle_core.training.finetuning import finetune
from miracle_core.training.pretraining import pretrain

Outcome = Literal["done", "interrupted", "failed"]
_POLL = 0.1  # seconds between looks at the processes


class Watcher:
    """Is called while an experiment runs. Each method does nothing; override those you need."""

    def begins(self, run: Run) -> None:
        """A run begins, or goes on."""

    def ends(self, run: Run, outcome: Outcome, why: str) -> None:
        """A run has ended; ``why`` says what made it fail."""


@dataclass(frozen=True)
class Failure:
    """A run that could not be done.

    Attributes:
        run: its name.
        why: in words.
    """

    run: str
    why: str


def shard(chains: Sequence[Sequence[Run]], number: int, of: int) -> list[Run]:
    """One of several shares of the runs; no share needs a run of another.

    Args:
        chains: see :meth:`miracle_core.experiments.plan.Plan.chains`.
        number: which share, from 1.
        of: how many there are.
    """
    return [run for chain in chains[number - 1 :: of] for run in chain]


def do_all(
    runs: Sequence[Run],
    out: Path,
    *,
    jobs: int = 1,
    threads: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    watcher: Watcher | None = None,
) -> tuple[list[Failure], bool]:
    """Do the runs that are missing, and go on with those that were cut off.

    If a run fails, the others are done all the same.

    Args:
        runs: each after the one it needs.
        out: the experiment's folder.
        jobs: how many runs at a time; with more than one, each has a process of its own.
        threads: of each run; None takes torch's own choice, shared by the jobs.
        should_stop: asked after each step; true saves what is going on, and ends.
        watcher: called for each run that begins and ends.

    Returns:
        What failed, and whether it was stopped before the end.
    """
    watcher = watcher or Watcher()
    if jobs == 1:
        return _one_by_one(runs, out, should_stop, watcher)
    return _Pool(runs, out, jobs, threads, should_stop, watcher).work()


def do(run: Run, out: Path, should_stop: Callable[[], bool] = lambda: False) -> Outcome:
    """Train a run or go on with it, and rank for every user; what is done is not done again.

    Args:
        run: what to do.
        out: the experiment's folder.
        should_stop: asked after each step; true saves a checkpoint and ends.

    Returns:
        ``done`` or ``interrupted``.

    Raises:
        InputError: what training or ranking raises.
        MiracleError: the loss is no longer finite.
    """
    if run.kind == "zero-shot":
        _rank_zero_shot(run, out)
        return "done"
    folder = RunFolder(run.folder(out))
    result = folder.read_result()
    if result is None or result["status"] == "interrupted":
        settings = run.settings
        if run.needs:
            start = str((out / settings.pretrained).resolve())
            settings = settings.model_copy(update={"pretrained": start})
        train = pretrain if run.kind == "pretrain" else finetune
        begun = folder.config.is_file()
        result = train(settings, folder.path, resume=begun, should_stop=should_stop)
    if result["status"] == "interrupted":
        return "interrupted"
    if run.kind == "train":
        # Results that there are already, of these weights and data, are not made again.
        gather([folder.path], _split(run), run.seen)
    return "done"


def _split(run: Run) -> Literal["test", "valid"]:
    assert run.split in ("test", "valid")
    return "test" if run.split == "test" else "valid"


def _rank_zero_shot(run: Run, out: Path) -> None:
    """Rank with the weights of a pre-training, unless that is done."""
    weights = RunFolder(out / "runs" / run.needs)
    file = rank_file(run, out)
    if file.is_file() and read_about(file).weights_sha256 == weights_hash(weights, "best"):
        return
    found = evaluate_run(
        weights.path,
        run.target,
        _split(run),
        seen=run.seen,
        keep_top=TOP,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_user_results(file, found)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, MiracleError) else f"{type(error).__name__}: {error}"


def _start_failed(run: Run, failures: Sequence[Failure]) -> Failure | None:
    """The failure of a run whose start, another run, has failed; None if it has not."""
    if run.needs in {failure.run for failure in failures}:
        return Failure(run.name, f"it starts from {run.needs}, which failed")
    return None


def _one_by_one(
    runs: Sequence[Run], out: Path, should_stop: Callable[[], bool], watcher: Watcher
) -> tuple[list[Failure], bool]:
    failures: list[Failure] = []
    for run in runs:
        if should_stop():
            return failures, True
        if progress(run, out).state == "done":
            continue
        watcher.begins(run)
        failure = _start_failed(run, failures)
        outcome: Outcome = "failed"
        if failure is None:
            try:
                outcome = do(run, out, should_stop)
            except MiracleError as error:
                failure = Failure(run.name, _words(error))
        if failure is not None:
            failures.append(failure)
        watcher.ends(run, outcome, "" if failure is None else failure.why)
        if outcome == "interrupted":
            return failures, True
    return failures, False


@dataclass(frozen=True)
class _Job:
    run: Run
    process: BaseProcess
    says: Connection


class _Pool:
    """Runs in processes of their own, ``jobs`` at a time."""

    def __init__(
        self,
        runs: Sequence[Run],
        out: Path,
        jobs: int,
        threads: int | None,
        should_stop: Callable[[], bool],
        watcher: Watcher,
    ) -> None:
        self.waiting = [run for run in runs if progress(run, out).state != "done"]
        self.out, self.jobs, self.watcher = out, jobs, watcher
        self.threads = threads or max(1, (os.cpu_count() or 1) // jobs)
        self.should_stop = should_stop
        self.working: list[_Job] = []
        self.failures: list[Failure] = []
        self.stopped = False

    def work(self) -> tuple[list[Failure], bool]:
        """Work until all is done, or stopped; returns what :func:`do_all` does."""
        try:
            while self.working or self.waiting:
                if self.should_stop() and not self.stopped:
                    self.stopped, self.waiting = True, []
                    self._signal(signal.SIGINT)
                self._begin()
                time.sleep(_POLL)
                self._end()
        except BaseException:
            # A second Ctrl-C: the checkpoints of a minute ago are what is left.
            self._signal(signal.SIGTERM)
            raise
        return self.failures, self.stopped

    def _signal(self, number: signal.Signals) -> None:
        for job in self.working:
            if job.process.pid is not None and job.process.is_alive():
                os.kill(job.process.pid, number)

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        going = {job.run.name for job in self.working}
        pending = {run.name for run in self.waiting} | going
        for run in list(self.waiting):
            if len(self.working) >= self.jobs:
                return
            if run.needs in pending:
                continue
            self.waiting.remove(run)
            self.watcher.begins(run)
            failure = _start_failed(run, self.failures)
            if failure is not None:
                self.failures.append(failure)
                self.watcher.ends(run, "failed", failure.why)
                continue
            ours, theirs = context.Pipe(duplex=False)
            # The settings' class is made on demand and can't be pickled; plain values can.
            values = run.settings.model_dump(mode="json")
            process = context.Process(
                target=_in_a_process,
                args=(replace(run, settings=values), self.out, self.threads, theirs),  # type: ignore[arg-type]
                name=run.name,
            )
            with _held_back():
                process.start()
            theirs.close()
            self.working.append(_Job(run, process, ours))

    def _end(self) -> None:
        for job in list(self.working):
            if job.process.is_alive():
                continue
            job.process.join()
            self.working.remove(job)
            try:
                outcome, why = job.says.recv()
            except EOFError:  # killed, by the system where memory ran out
                outcome, why = "failed", f"its process ended with code {job.process.exitcode}"
            job.says.close()
            if outcome == "failed":
                self.failures.append(Failure(job.run.name, why))
            if outcome == "interrupted":
                self.stopped, self.waiting = True, []
            self.watcher.ends(job.run, outcome, why)


@contextmanager
def _held_back() -> Iterator[None]:
    """Start a process with Ctrl-C held back, until it handles Ctrl-C as a request to stop."""
    resource_tracker.ensure_running()  # its own first start would let Ctrl-C through again
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _in_a_process(run: Run, out: Path, threads: int, says: Connection) -> None:
    """One run in a process of its own.

    Args:
        run: what to do; its ``settings`` are plain values.
        out: the experiment's folder.
        threads: how many it computes with.
        says: is sent the outcome, and why it failed.
    """
    import torch

    run = replace(run, settings=make_settings(run.settings))  # type: ignore[arg-type]

    pressed = False
    parent = os.getppid()

    def stop(*_: object) -> None:
        nonlocal pressed
        pressed = True

    # Ctrl-C comes from the terminal and from the parent, so it may come more than once.
    signal.signal(signal.SIGINT, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    torch.set_num_threads(threads)
    try:
        # End as well if the parent was killed: it can't stop this run any more, and the next
        # command would find the folder locked.
        outcome: Outcome = do(run, out, lambda: pressed or os.getppid() != parent)
    except Exception as error:
        says.send(("failed", _words(error)))
    else:
        says.send((outcome, ""))
    finally:
        says.close()


def check_shard(text: str) -> tuple[int, int]:
    """``1/4`` as its two numbers.

    Raises:
        InputError: it is no share.
    """
    number, slash, of = text.partition("/")
    if slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
        return int(number), int(of)
    raise InputError(
        "is no share of the runs", where=f"--shard {text}", remedy="write 1/4 for the first of 4"
    )
