"""A search of settings: trials on validation data, one after another, in one or more processes.

A trial is a training whose test part is never computed. A trial's settings follow from the study's
seed, the trial's number and the trials that have ended. So a study that was killed and resumed ends
with the same table as one that was not. Optuna's tree-structured Parzen estimator (Bergstra et al.
2011) chooses the settings; the first trial has those that the search begins with.

Processes share a study by two kinds of lock. To choose settings or write the table takes the
study's lock; to train a trial takes that trial's lock. If a trial has begun and its lock is free,
its process is gone, and another one resumes it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock

from miracle_core.config import Choice, Settings, dump_settings, make_settings, nested
from miracle_core.data.dataset import Dataset
from miracle_core.disk import DiskFullError
from miracle_core.errors import InputError, MiracleError
from miracle_core.files import read_json, write_json, write_text
from miracle_core.locks import one_writer
from miracle_core.paths import as_path, portable
from miracle_core.processes import processes
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import check_needs
from miracle_core.training.finetuning import finetune, resolved
from miracle_core.tuning.journal import JOURNAL, open_journal, optuna_library
from miracle_core.tuning.records import (
    BEST,
    STUDY,
    TRIALS,
    check_same,
    read_record,
    record_of,
    write_trials,
)
from miracle_core.tuning.space import first_values, search_space

# Settings, run folder, whether to resume: the result.
Train = Callable[[Settings, Path, bool], dict[str, Any]]
State = Literal["finished", "running", "failed"]
_FAILED = "failed.json"
_STATES: dict[str, State] = {"COMPLETE": "finished", "RUNNING": "running", "FAIL": "failed"}


@dataclass(frozen=True)
class Trial:
    """One trial, begun.

    Attributes:
        number: from 0.
        settings: complete settings of its run.
        values: the searched settings' values, by name.
        folder: its run folder.
    """

    number: int
    settings: Settings
    values: dict[str, Any]
    folder: Path


def tune(
    settings: Settings,
    out: str | Path,
    trials: int,
    *,
    fixed: Collection[str] = (),
    train: Train | None = None,
    begins: Callable[[Trial, int], None] = lambda trial, of: None,
) -> dict[str, Any]:
    """Search a system's settings on the validation part, and leave the best ones as a config file.

    The same call again goes on with the study in ``out``, in this process or another one.

    Args:
        settings: where the search begins: its values are the first trial's.
        out: the study's folder.
        trials: how many the study is to have, earlier ones and those of other processes included.
        fixed: settings that are not searched, by dotted name.
        train: trains one run; None trains silently.
        begins: called with each trial of this process, and with ``trials``.

    Returns:
        What ``miracle tune --json`` prints: ``status`` is ``finished``, ``interrupted``, or
        ``others at work`` where the last trials are another process's.

    Raises:
        InputError: nothing to search, a study of something else in ``out``, settings of a
            pre-training or that ask for the test part, several processes of ``torchrun``, what
            :func:`miracle_core.training.finetuning.finetune` raises, or Optuna is not installed.
    """
    train = train or (lambda own, path, again: finetune(own, path, resume=again))
    study = _Study(settings, as_path(out), fixed)
    status = "finished"
    while True:
        with study.claimed(trials) as trial:
            if trial is None:
                break
            begins(trial, trials)
            if not study.run(trial, train):
                status = "interrupted"
                break
    return study.summary(status)


class _Study:
    """The study in a folder.

    Args:
        settings: where the search begins.
        folder: the study's.
        fixed: settings that are not searched.
    """

    def __init__(self, settings: Settings, folder: Path, fixed: Collection[str]) -> None:
        self.optuna = optuna_library()
        _check(settings, fixed)
        dataset = Dataset.open(settings.data)
        check_needs(settings.spec, dataset)
        dataset.require_examples("train", "valid")
        self.space = search_space(settings, fixed)
        self.wanted_test = settings.train.test
        settings = resolved(settings, dataset, None)
        self.base = settings.model_copy(
            update={"train": settings.train.model_copy(update={"test": False})}
        )
        self.folder = folder
        self.lock = FileLock(folder / ".study.lock")
        self.record = record_of(self.base, dataset, self.space)
        _check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with self.lock:
            if (folder / STUDY).is_file():
                theirs = read_record(folder).filled(self.record, self.base)
                check_same(theirs, self.record, folder)
            else:
                write_json(folder / STUDY, self.record.model_dump(mode="json"))
            self.study = open_journal(folder)
            self._check_journal()

    def _check_journal(self) -> None:
        """Refuse a folder whose journal is not the one of its runs and its table.

        A repository may keep a study's table without journal and runs: a search in its folder would
        begin anew, and overwrite it.

        Raises:
            InputError: what does not belong together.
        """
        trials = self._trials()
        unknown = [
            path
            for path in (self.folder / "trials").glob("[0-9]*")
            if path.name.isdecimal() and int(path.name) >= len(trials)
        ]
        if unknown:
            raise _refused(
                f"is a trial that the journal does not know (it has {len(trials)})", min(unknown)
            )
        if not trials and (self.folder / TRIALS).is_file():
            raise _refused("has trials that the journal does not know", self.folder / TRIALS)
        for each in trials:
            self._check_trial(each)

    def _check_trial(self, trial: Any) -> None:
        """Refuse a trial of another study, and one that ended and whose run says otherwise."""
        run, metric = RunFolder(self._path(trial.number)), self.record.metric
        ended = {"COMPLETE": run.result, "FAIL": run.path / _FAILED}.get(trial.state.name)
        if trial.params.keys() != self.space.keys():
            raise _refused(f"has a trial {trial.number} of another study", self.folder / JOURNAL)
        if ended is not None and not ended.is_file():
            raise _refused(f"is missing, and the journal has trial {trial.number}", ended)
        if ended == run.result:
            value = (run.read_result() or {}).get("valid", {}).get(metric)
            if value != trial.value:
                raise _refused(f"has {metric} {value}, and the journal {trial.value}", ended)

    @contextmanager
    def claimed(self, trials: int) -> Iterator[Trial | None]:
        """Hold a trial that no process works on: one that was given up, else the next one.

        Args:
            trials: how many the study is to have.

        Yields:
            The trial; None if all have ended or are other processes'.
        """
        with ExitStack() as held:
            with self.lock:
                trial = self._given_up(held)
                while trial is None and len(self._trials()) < trials:
                    trial = self._next(held)
                self.write()
            yield trial

    def _trials(self) -> list[Any]:
        found: list[Any] = self.study.get_trials(deepcopy=False)
        return found

    def _given_up(self, held: ExitStack) -> Trial | None:
        for each in self._trials():
            if each.state.name != "RUNNING":
                continue
            try:
                held.enter_context(one_writer(self._path(each.number)))
            except InputError:  # another process works on it
                continue
            trial = self._trial(each.number, each.params)
            if trial is not None:
                return trial
        return None

    def _next(self, held: ExitStack) -> Trial | None:
        before = self._trials()
        number = len(before)
        values = self._chosen(number, before) if number else first_values(self.base, self.space)
        held.enter_context(one_writer(self._path(number)))
        # One record in the journal, so that after a kill there is a trial with all values, or none.
        self.study.add_trial(
            self.optuna.trial.create_trial(
                state=self.optuna.trial.TrialState.RUNNING,
                params=values,
                distributions=self._distributions(),
            )
        )
        return self._trial(number, values)

    def _chosen(self, number: int, before: list[Any]) -> dict[str, Any]:
        """The settings that the sampler chooses after the trials before."""
        seed = np.random.SeedSequence([self.base.train.seed, number]).generate_state(1)
        # The "constant liar" makes processes that choose at the same time choose differently.
        sampler = self.optuna.samplers.TPESampler(seed=int(seed[0]), constant_liar=True)
        copy = self.optuna.create_study(direction="maximize", sampler=sampler)
        copy.add_trials(before)
        chosen: dict[str, Any] = copy.ask(fixed_distributions=self._distributions()).params
        return chosen

    def _distributions(self) -> dict[str, Any]:
        made = self.optuna.distributions
        return {
            name: made.CategoricalDistribution(among.values)
            if isinstance(among, Choice)
            else made.FloatDistribution(among.low, among.high, log=among.log)
            for name, among in self.space.items()
        }

    def _path(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04}"

    def _trial(self, number: int, values: dict[str, Any]) -> Trial | None:
        """A trial to train; None if its settings contradict each other, which fails the trial."""
        ordered = {name: values[name] for name in self.space}
        try:
            settings = self._with(ordered)
        except InputError as error:
            self._fail(number, f"{error.where}: {error.what}")
            return None
        return Trial(number, settings, ordered, self._path(number))

    def _fail(self, number: int, why: str) -> None:
        write_json(self._path(number) / _FAILED, {"why": why})
        self.study.tell(number, state=self.optuna.trial.TrialState.FAIL)

    def _with(self, values: dict[str, Any]) -> Settings:
        return make_settings(self.base.model_dump(mode="json"), nested(values), where="a trial")

    def run(self, trial: Trial, train: Train) -> bool:
        """Train a trial and record its result; false if it was interrupted.

        If the training fails (the loss is not finite), the trial has failed, and counts as ended. A
        full disk says nothing of the settings: it ends the search, and the trial goes on later.
        """
        run, why = RunFolder(trial.folder), ""
        result = run.read_result()
        try:
            if result is None or result["status"] == "interrupted":
                result = train(trial.settings, trial.folder, run.config.is_file())
        except (InputError, DiskFullError):
            raise
        except MiracleError as error:
            why = error.what
        with self.lock:
            if why or result is None:
                self._fail(trial.number, why)
            elif result["status"] == "interrupted":
                return False
            else:
                self.study.tell(trial.number, result["valid"][self.record.metric])
            self.write()
        return True

    def rows(self) -> list[dict[str, Any]]:
        """The table of trials, in the order in which they were begun."""
        rows: list[dict[str, Any]] = []
        best = None
        for each in self._trials():
            run = RunFolder(self._path(each.number))
            result = (run.read_result() or {}) if each.state.name == "COMPLETE" else {}
            if each.value is not None:
                best = each.value if best is None else max(best, each.value)
            failed = run.path / _FAILED
            rows.append(
                {
                    "trial": each.number,
                    "state": _STATES[each.state.name],
                    "value": each.value,
                    "best_so_far": best,
                    **{name: result.get(name) for name in ("epochs", "best_epoch", "seconds")},
                    **{name: each.params[name] for name in self.space},
                    "why": read_json(failed)["why"] if failed.is_file() else None,
                }
            )
        return rows

    def write(self) -> None:
        """Write the table and the best settings, and delete large files of other trials."""
        rows = self.rows()
        if rows:
            write_trials(self.folder, rows)
        best = _best(rows)
        if best is not None:
            settings = self._with({name: best[name] for name in self.space})
            write_text(self.folder / BEST, self._config(settings))
        for row in rows:
            if row["state"] != "running":
                run = RunFolder(self._path(row["trial"]))
                shutil.rmtree(run.state.parent.parent, ignore_errors=True)
                if row is not best:
                    run.weights.unlink(missing_ok=True)
                    shutil.rmtree(run.data, ignore_errors=True)

    def _config(self, settings: Settings) -> str:
        """The best settings as a config file for ``miracle train --config``."""
        return dump_settings(
            settings.model_copy(
                update={
                    "data": portable(settings.data, self.folder),
                    "train": settings.train.model_copy(update={"test": self.wanted_test}),
                }
            )
        )

    def summary(self, status: str) -> dict[str, Any]:
        """The JSON contract of ``miracle tune``."""
        with self.lock:
            rows = self.rows()
        best = _best(rows)
        if status == "finished" and any(row["state"] == "running" for row in rows):
            status = "others at work"
        return {
            "format": self.record.format,
            "status": status,
            "system": self.record.system,
            "dataset": self.record.dataset,
            "fingerprint": self.record.fingerprint,
            "metric": self.record.metric,
            "searched": list(self.space),
            "trials": rows,
            "best": None
            if best is None
            else {
                "trial": best["trial"],
                "value": best["value"],
                "settings": {name: best[name] for name in self.space},
                "run": str(self._path(best["trial"])),
            },
            "config": None if best is None else str(self.folder / BEST),
        }


def _best(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The finished trial with the highest value, the first of equal ones."""
    finished = [row for row in rows if row["state"] == "finished"]
    return max(finished, key=lambda row: (row["value"], -row["trial"]), default=None)


def _check(settings: Settings, fixed: Collection[str]) -> None:
    if processes().size > 1:
        raise InputError(
            "a trial is trained by one process",
            where="torchrun",
            remedy="start the same miracle tune several times: they share the study",
        )
    if "train.test" in fixed and settings.train.test:
        raise InputError(
            "a search never computes the test part",
            where="train.test",
            remedy="leave it out; train the best settings afterwards",
        )
    for name in ("datasets", "pretrained"):
        if getattr(settings, name):
            raise InputError(
                "only trainings from scratch on one Dataset are searched",
                where=name,
                remedy="leave it out",
            )
    if not settings.data:
        raise InputError("no Dataset is named", remedy="name one with --data DIR")


def _refused(what: str, where: Path) -> InputError:
    remedy = f"bring back the study's {JOURNAL} and its folder trials, or name another --out"
    return InputError(what, where=str(where), remedy=remedy)


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a study."""
    if folder.exists() and not folder.is_dir():
        raise InputError("is not a folder", where=str(folder), remedy="name another --out")
    if not folder.is_dir() or (folder / STUDY).is_file():
        return
    # A process that is just beginning has made the lock, and nothing else.
    others = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if others:
        raise InputError(
            f"already holds something that is no study ({min(others)})",
            where=str(folder),
            remedy="name another --out",
        )
