"""What an experiment is: systems to compare and how, read from one TOML file.

    title = "SASRec with other losses"
    primary = "ndcg@10"               # the metric of the one claim
    proposed = ["softmax"]            # the system of the claim; without it no claim is made

    [settings]                        # of every run, as in config.toml
    train.patience = 5

    [[system]]                        # a row of the table; its own settings lie on top
    name = "softmax"
    model.kind = "sasrec"

    [[system]]
    name = "gBCE"
    model.kind = "sasrec"
    loss.recommendation = "gbce"

The experiments of the paper are such files in ``library/``.
"""

from __future__ import annotations

import re
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from miracle_core.config import Section, read_values
from miracle_core.config.problems import explained
from miracle_core.errors import InputError, did_you_mean
from miracle_core.evaluation.metrics import DEFAULT_KS
from miracle_core.paths import as_path

Column = Literal["as printed", "seen-aware"]
COLUMNS: tuple[Column, ...] = get_args(Column)
_METRICS = tuple(f"{name}@{k}" for k in DEFAULT_KS for name in ("recall", "ndcg", "mrr"))
# Settings that the experiment sets for every run, and what to do instead of setting them.
# More seeds than anybody trains. A plan of any number would fill the memory.
MOST_SEEDS = 1000
NOT_OWN = {
    "seen": "each of the experiment's columns says the seen rule of its runs",
    "data": "name Datasets with --data",
    "datasets": "name the Datasets of a pre-training with --pretrain",
    "pretrained": 'a system that is pre-trained says pretrain = "domains" or "own"',
}


class SystemRow(Section):
    """One system of an experiment.

    Attributes:
        name: what its row is called.
        pretrain: what it is pre-trained on first: nothing (empty), the ``domains`` that
            ``--pretrain`` names, or its ``own`` Dataset.
        finetune: whether it is trained on the Dataset; if not, it is evaluated as pre-trained.
        settings: of its runs, as in ``config.toml``.
    """

    name: str = Field(min_length=1)
    pretrain: Literal["", "domains", "own"] = ""
    finetune: bool = True
    settings: dict[str, Any] = Field(default={})

    @model_validator(mode="after")
    def _is_made_somehow(self) -> SystemRow:
        if not self.finetune and not self.pretrain:
            raise ValueError("is neither pre-trained nor trained: say pretrain, or leave finetune")
        return self

    @property
    def kind(self) -> str:
        """The system's name in the registry."""
        model = self.settings.get("model")
        found = model.get("kind") if isinstance(model, dict) else None
        return found if isinstance(found, str) else ""

    @property
    def slug(self) -> str:
        """Its name as a folder's."""
        return slug(self.name)


class Experiment(Section):
    """An experiment, as its file describes it.

    Attributes:
        name: what the experiment is called: the file's name without its ending.
        title: a line for people.
        about: what a reader should know.
        kind: ``runs`` are trained and compared; ``statistics`` only counts users, items and
            interactions of Datasets.
        paper: which of the paper's tables has rows for it; empty for none.
        columns: which tables there are, by the seen rule: ``as printed``, ``seen-aware``, or both.
        split: whose held-out items are ranked.
        metrics: columns of the table.
        primary: the metric of the claim.
        proposed: the system of the claim; if several are named, the first that can be run. Empty:
            no claim.
        seeds: runs of each system, with seeds that follow each other.
        capsules: also show which capsules users activate (the paper's figure 6).
        settings: of every run.
        quick: settings of every run of ``--quick``; a system's own override them. A ``model``
            setting that a system doesn't have is left out for it.
        system: the systems, in the order of their rows.
    """

    name: str
    title: str = ""
    about: str = ""
    kind: Literal["runs", "statistics"] = "runs"
    paper: Literal["", "table1", "table2", "table3", "table4"] = ""
    columns: list[Column] = Field(default=list(COLUMNS), min_length=1)
    split: Literal["test", "valid"] = "test"
    metrics: list[str] = Field(
        default=["recall@10", "ndcg@10", "recall@50", "ndcg@50"], min_length=1
    )
    primary: str = "ndcg@10"
    proposed: list[str] = Field(default=[])
    seeds: int = Field(5, ge=1, le=MOST_SEEDS)
    capsules: bool = False
    settings: dict[str, Any] = Field(default={})
    quick: dict[str, Any] = Field(
        default={
            "model": {"width": 16, "inner": 16, "capsules": 8, "experts": 2, "layers": 1},
            "train": {"epochs": 1},
        }
    )
    system: list[SystemRow] = Field(default=[])

    @field_validator("metrics", "primary")
    @classmethod
    def _known(cls, value: list[str] | str) -> list[str] | str:
        for each in [value] if isinstance(value, str) else value:
            if each not in _METRICS:
                raise ValueError(f"{each} is none of {', '.join(_METRICS)}")
        return value

    @model_validator(mode="after")
    def _systems(self) -> Experiment:
        if (self.kind == "runs") != bool(self.system):
            raise ValueError(
                "an experiment of runs has at least one [[system]], and one of statistics has none"
            )
        known: dict[str, str] = {}
        for row in self.system:
            if row.slug in known:
                raise ValueError(f"{known[row.slug]!r} and {row.name!r} would be in one folder")
            known[row.slug] = row.name
        for name in self.proposed:
            if name not in known.values():
                has = ", ".join(known.values())
                raise ValueError(
                    f"proposed names {name!r}, which is no system of it (it has: {has})"
                )
        if len(set(self.columns)) < len(self.columns):
            raise ValueError("a column is named twice")
        return self


def only_column(experiment: Experiment, name: str) -> Experiment:
    """The experiment with only one of its tables.

    Args:
        experiment: of ``runs``.
        name: a column, as it is printed or as its folder is called (``as-printed``).

    Raises:
        InputError: the experiment has no such column.
    """
    known = {slug(column): column for column in experiment.columns}
    if slug(name) not in known:
        raise InputError(
            f"{experiment.name} has no column {name!r}",
            where="--column",
            remedy=f"known: {', '.join(known)}",
        )
    return experiment.model_copy(update={"columns": [known[slug(name)]]})


def slug(name: str) -> str:
    """A name as a folder can have it: letters, digits and ``-``, never empty."""
    return re.sub(r"[^\w]+", "-", name.lower()).strip("-") or "unnamed"


def library() -> list[str]:
    """The names of the experiments that come with this program."""
    names = [Path(each.name) for each in (files("miracle_core.experiments") / "library").iterdir()]
    return sorted(n.stem for n in names if n.suffix == ".toml" and n.name != "paper.toml")


def read_experiment(name: str) -> Experiment:
    """An experiment that comes with this program, by its name, or one from a file.

    Args:
        name: one of :func:`library`, or the path of a TOML file (its name ends in ``.toml``).

    Raises:
        InputError: there is none, it is no TOML, or it is not a valid experiment.
    """
    if not name.endswith(".toml"):
        if name not in library():
            known = f"known: {', '.join(library())}; a file of your own ends in .toml"
            raise InputError(
                f"there is no experiment {name!r}",
                where=name,
                remedy=did_you_mean(name, library(), known),
            )
        with as_file(files("miracle_core.experiments") / "library" / f"{name}.toml") as path:
            return _read(path, name)
    return _read(as_path(name), Path(name).stem)


def _read(path: Path, name: str) -> Experiment:
    values = read_values(path)
    # Whatever is no key of a row is a setting of its runs, as in a recipe's stages.
    keys = set(SystemRow.model_fields) - {"settings"}
    tables = values.get("system", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError("write one table a system: [[system]]", where=f"{path}: system")
    if "name" in values:
        raise InputError(
            "an experiment is called as its file is", where=f"{path}: name", remedy="leave it out"
        )
    values["system"] = [
        {key: table[key] for key in table if key in keys}
        | {"settings": {key: table[key] for key in table if key not in keys}}
        for table in tables
    ]
    try:
        experiment = Experiment.model_validate({**values, "name": name})
    except ValidationError as error:
        raise explained(error, Experiment, str(path)) from error
    for place, settings in [
        (f"{path}: settings", experiment.settings),
        (f"{path}: quick", experiment.quick),
        *((f"{path}: system {row.name!r}", row.settings) for row in experiment.system),
    ]:
        for key, why in NOT_OWN.items():
            if key in settings:
                raise InputError(f"{key} can't be set here", where=place, remedy=why)
    for row in experiment.system:
        if not row.kind:
            raise InputError(
                "no system is named",
                where=f"{path}: system {row.name!r}",
                remedy='write model.kind = "sasrec", or another name of: miracle models',
            )
    return experiment
