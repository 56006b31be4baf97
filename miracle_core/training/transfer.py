"""From a pre-trained run to the start of a fine-tuning: what is taken over, and what is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from miracle_core.config import ModelSettings, Settings
from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError
from miracle_core.files import sha256_file
from miracle_core.paths import as_path
from miracle_core.registry import SystemSpec
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import check_kind
from miracle_core.runs.origin import Origin
from miracle_core.runs.tensors import load_tensors
from miracle_core.systems.base import System


class ItemsKept(BaseModel):
    """How many rows of a table a run took over from another run.

    A row is that of an item, or of a value of an attribute.

    Attributes:
        kept: rows that both runs have, by the item's id or the value's name.
        new: rows that begin as in a training from scratch.
        gone: rows of the other run that this one does not have.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kept: int
    new: int
    gone: int


class Transfer(BaseModel):
    """What a fine-tuning took over.

    Attributes:
        run: the run it starts from.
        sha256: of that run's weights.
        domains: the Datasets they were learned from.
        loaded: weights taken over.
        new: weights of this model that start fresh.
        left_out: weights of the run that this model has no place for.
        frozen: weights that stay as they are.
        settings: model settings that differ, each with the run's value and this one's.
        items: what became of the items, where a run goes on with other data; None otherwise.
        values: the same of the attributes' values; None where none are read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str
    sha256: str
    domains: list[str]
    loaded: list[str]
    new: list[str]
    left_out: list[str]
    frozen: list[str]
    settings: dict[str, list[Any]]
    items: ItemsKept | None = None
    values: ItemsKept | None = None


@dataclass(frozen=True)
class Pretrained:
    """A run to start from.

    Attributes:
        folder: where it lies.
        settings: its settings.
        origin: what its weights were learned from.
        weights: its best weights.
        sha256: of the file they are in.
    """

    folder: RunFolder
    settings: Settings
    origin: Origin
    weights: dict[str, Tensor]
    sha256: str

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a run, pre-trained or fine-tuned; its own data is not needed.

        Raises:
            InputError: no run, no validated weights in it, or those of another system.
        """
        folder = RunFolder(as_path(path))
        settings = folder.settings()
        if not folder.weights.is_file():
            raise InputError(
                "has no weights yet",
                where=str(path),
                remedy="let its training go on until its first validation: --resume",
            )
        weights, metadata = load_tensors(folder.weights)
        check_kind(metadata, settings.spec, str(folder.path))
        origin = Origin.read(metadata, str(folder.weights))
        return cls(folder, settings, origin, weights, sha256_file(folder.weights))

    def check_unchanged(self, transfer: Transfer) -> None:
        """Refuse other weights than those that a run was begun with.

        Raises:
            InputError: they have changed.
        """
        if self.sha256 != transfer.sha256:
            raise InputError(
                "its weights are not those that the run was begun with",
                where=str(self.folder.path),
                remedy="train again: --overwrite",
            )

    def load_into(self, system: System, settings: Settings) -> Transfer:
        """Put the weights into a model with fresh ones.

        Raises:
            InputError: it is another system, the shapes differ, or what is to be frozen was never
                pre-trained.
        """
        if self.settings.model.kind != settings.model.kind:
            raise InputError(
                f"is a run of {self.settings.model.kind!r}, and this is {settings.model.kind!r}",
                where=str(self.folder.path),
                remedy=f"say --model {self.settings.model.kind}, or leave --from out",
            )
        mine = system.state_dict()
        theirs = {k: v for k, v in self.weights.items() if not k.startswith(system.own)}
        loaded = sorted(name for name in theirs.keys() & mine.keys())
        differ = self._differences(settings.model)
        for name in loaded:
            if theirs[name].shape != mine[name].shape:
                told = "; ".join(
                    f"{setting} is {there!r} there and {here!r} here"
                    for setting, (there, here) in differ.items()
                )
                raise InputError(
                    f"its weight {name!r} has shape {tuple(theirs[name].shape)}, this model's has "
                    f"{tuple(mine[name].shape)}" + (f" ({told})" if told else ""),
                    where=str(self.folder.path),
                    remedy="leave these settings out: a fine-tuning takes those of its run over",
                )
        new = sorted(mine.keys() - set(loaded))
        frozen = [n for n in sorted(mine) if settings.train.freeze and n.startswith(system.frozen)]
        fresh = [name for name in frozen if name in new]
        if fresh:
            raise InputError(
                f"has no weight {fresh[0]!r}, so it can't be frozen",
                where=str(self.folder.path),
                remedy="take the run's own model.layers, or say --no-freeze",
            )
        system.load_state_dict({name: theirs[name] for name in loaded}, strict=False)
        return Transfer(
            run=str(self.folder.path.resolve()),
            sha256=self.sha256,
            domains=[domain.name for domain in self.origin.domains],
            loaded=loaded,
            new=new,
            left_out=sorted(self.weights.keys() - set(loaded)),
            frozen=frozen,
            settings={f"model.{name}": values for name, values in differ.items()},
        )

    def _differences(self, mine: ModelSettings) -> dict[str, list[Any]]:
        theirs = self.settings.model.model_dump()
        return {k: [theirs[k], v] for k, v in mine.model_dump().items() if theirs[k] != v}


def check_catalogue(spec: SystemSpec, origin: Origin, dataset: Dataset) -> None:
    """Refuse another catalogue than that of the weights, for a system that knows items one by one.

    Raises:
        InputError: it is another.
    """
    if not spec.zero_shot and not origin.knows(dataset):
        raise InputError(
            f"{spec.name} knows items one by one, and its weights know those of {origin.names!r}: "
            f"{dataset.name!r} has another catalogue",
            where=str(dataset.folder),
            remedy="pre-train on this Dataset, or leave --from out",
        )


def settings_from(run: str | Path) -> dict[str, Any]:
    """The settings that a fine-tuning takes over from a run; all others override them.

    Raises:
        InputError: no run folder.
    """
    settings = RunFolder(as_path(run)).settings()
    model = settings.model.model_dump(mode="json")
    return {"pretrained": str(run), "seen": settings.seen, "model": model}


def freeze(system: System) -> None:
    """Freeze the weights that ``system.frozen`` names (section 3.4.4)."""
    for name, parameter in system.named_parameters():
        if name.startswith(system.frozen):
            parameter.requires_grad_(False)
