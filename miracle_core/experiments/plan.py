"""What an experiment is to do: one list of runs, each with complete settings and a stable name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from miracle_core.config import SeenRule, Settings, flat, with_defaults
from miracle_core.data.dataset import Dataset, Split
from miracle_core.experiments.definition import Column, Experiment

Kind = Literal["pretrain", "train", "zero-shot"]
RUNS = "runs"


@dataclass(frozen=True)
class Data:
    """A Dataset of an experiment.

    Attributes:
        label: what folders and tables call it; no two are the same.
        dataset: the Dataset, opened.
    """

    label: str
    dataset: Dataset


@dataclass(frozen=True)
class Run:
    """One run: it needs nothing but the data, and for some the run it starts from.

    Attributes:
        name: its folder below ``runs``, such as ``shop/as-printed/sasrec/seed-2023``.
        kind: ``pretrain``, ``train``, or ``zero-shot`` (the run it needs is evaluated as it is).
        system: the name of its row.
        data: the label of its Dataset; empty for a pre-training on the domains.
        column: which table it belongs to.
        seed: of the training.
        seen: the seen rule of its training and ranking.
        split: whose held-out items are ranked; None for a pre-training, which ranks none.
        settings: complete.
        needs: the name of the run that it starts from; empty for none.
        target: the folder of the Dataset that it is ranked on; empty for a pre-training.
    """

    name: str
    kind: Kind
    system: str
    data: str
    column: Column
    seed: int
    seen: SeenRule
    split: Split | None
    settings: Settings
    needs: str = ""
    target: str = ""

    def folder(self, out: Path) -> Path:
        """Where it lies in an experiment's folder."""
        return out / RUNS / self.name

    def definition(self) -> dict[str, Any]:
        """All that identifies the run, without paths of data; ``plan.json`` keeps it."""
        own = self.settings.model_dump(mode="json", exclude={"data", "datasets", "pretrained"})
        return {
            "kind": self.kind,
            "system": self.system,
            "data": self.data,
            "column": self.column,
            "seed": self.seed,
            "seen": self.seen,
            "split": self.split or "",
            "needs": self.needs,
            "settings": flat(own),
        }

    def filled(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """A definition of this run that an older version kept, with today's new settings.

        They are at their defaults: the older version did not have them.
        """
        own = kept.get("settings")
        if not isinstance(own, Mapping):
            return dict(kept)
        names = self.definition()["settings"]
        return {**kept, "settings": with_defaults(own, names, self.settings)}


@dataclass(frozen=True)
class Unavailable:
    """A system of the experiment that can't be run, on one Dataset or on any.

    Attributes:
        system: the name of its row.
        data: the Dataset's label; empty for all.
        why: in words.
    """

    system: str
    data: str
    why: str


@dataclass(frozen=True)
class Plan:
    """An experiment on some Datasets.

    Attributes:
        experiment: what is run.
        data: the Datasets.
        domains: the Datasets of pre-trainings.
        quick: whether it is a quick trial, whose figures mean nothing.
        runs: what is to be done, each run after the one it needs.
        unavailable: what is left out, and why.
        notes: what else a person should know.
        tuned: how many trials the study of a row had; rows without one are not in it.
    """

    experiment: Experiment
    data: tuple[Data, ...]
    domains: tuple[Data, ...]
    quick: bool
    runs: tuple[Run, ...]
    unavailable: tuple[Unavailable, ...]
    notes: tuple[str, ...]
    tuned: Mapping[str, int]

    def run(self, name: str) -> Run:
        """The run with this name."""
        return next(run for run in self.runs if run.name == name)

    def at(self, label: str) -> Data:
        """The Dataset with this label."""
        return next(data for data in self.data if data.label == label)

    def chains(self) -> list[list[Run]]:
        """Groups of runs: a run with those that start from it. No group needs another."""
        chains: dict[str, list[Run]] = {}
        for run in self.runs:
            chains.setdefault(run.needs or run.name, []).append(run)
        return list(chains.values())


def reasons(left_out: Sequence[Unavailable]) -> list[str]:
    """Why systems are left out: a sentence for each reason, with all systems that it is for."""
    names: dict[str, list[str]] = {}
    for each in left_out:
        name = " on ".join(part for part in (each.system, each.data) if part)
        names.setdefault(each.why, []).append(name)
    return [f"{', '.join(own)}: {why}" for why, own in names.items()]
