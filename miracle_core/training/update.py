"""Next week's data: a run goes on, and its items keep their weights by their ids.

The new run begins with the old one's weights. Of a table with one row an item, each row goes to the
item of the same id; new items begin as in a training from scratch (and with their text, if the
system reads it). Tables with one row a value of an attribute are treated in the same way. The new
run is compared with these first weights, the old run's, on the new validation part.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from miracle_core.config import Settings, make_settings
from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError, command
from miracle_core.evaluation.checks import Check, check_not_worse
from miracle_core.evaluation.evaluate import Evaluation, evaluate
from miracle_core.evaluation.evaluate_run import evaluate_run
from miracle_core.evaluation.metrics import cut_offs
from miracle_core.exchange import exchange
from miracle_core.files import write_json
from miracle_core.locks import one_writer
from miracle_core.paths import as_path
from miracle_core.processes import processes
from miracle_core.progress import SILENT, Progress
from miracle_core.runs.opening import (
    COUNTED,
    attribute_values,
    build_system,
    count_cooccurrence,
    item_side,
    sizes_of,
)
from miracle_core.systems.base import Sizes, System
from miracle_core.training.finetuning import finetune, resolved
from miracle_core.training.transfer import ItemsKept, Pretrained, Transfer

FILE = "update.json"
Train = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Rows:
    """Which old row each row of a new table takes over.

    The table has one row an item, or one row a value of an attribute.

    Attributes:
        old: int64 [new rows], the old run's row for each new one; -1 if it has none.
        n_old: how many rows the old run has.
    """

    old: np.ndarray
    n_old: int

    @classmethod
    def of(cls, old: Sequence[Hashable], new: Sequence[Hashable]) -> Self:
        """From the names of the old rows and of the new ones, in order."""
        place = {name: row for row, name in enumerate(old)}
        return cls(np.array([place.get(name, -1) for name in new], dtype=np.int64), len(old))

    def kept(self) -> ItemsKept:
        """How many rows are kept, new and gone."""
        kept = int((self.old >= 0).sum())
        return ItemsKept(kept=kept, new=len(self.old) - kept, gone=self.n_old - kept)

    def moved(self, old: Tensor, fresh: Tensor) -> Tensor:
        """A fresh table with the old rows at their new places.

        A table may have more rows at its end, of no item or value; these are taken over as well.

        Args:
            old: [old rows + any, ...].
            fresh: [new rows + any, ...].
        """
        found = fresh.clone()
        rows = torch.from_numpy(self.old)
        known = rows >= 0
        found[: len(rows)][known] = old[rows[known]].to(found)
        found[len(rows) :] = old[self.n_old :].to(found)
        return found


@dataclass(frozen=True)
class Beginning(Pretrained):
    """A run to go on from, on other data.

    Attributes:
        items: the rows of tables of items, by their ids.
        values: the rows of tables of attribute values, by attribute and value.
    """

    items: Rows
    values: Rows

    @classmethod
    def of(cls, run: str | Path, dataset: Dataset) -> Self:
        """Open a run to go on from.

        Raises:
            InputError: no run with weights, a pre-trained one, one that is fitted at once, or data
                that shares no item with it.
        """
        found = Pretrained.open(run)
        where = str(found.folder.path)
        if found.settings.datasets:
            raise InputError(
                "is a pre-trained run: it has no data to go on from",
                where=where,
                remedy="fine-tune it: miracle finetune --from RUN --data DATA --out NEW",
            )
        if "fit" in found.settings.spec.stages:
            raise InputError(
                f"{found.settings.spec.name} is fitted at once: there is nothing to go on from",
                where=where,
                remedy="fit it to the new data: miracle train --model "
                f"{found.settings.spec.name} --data DATA --out NEW",
            )
        old = found.folder.dataset()
        spec = found.settings.spec
        items = Rows.of(old.items["item_id"].to_list(), dataset.items["item_id"].to_list())
        if not items.kept().kept:
            raise InputError(
                "holds none of the run's items: their ids are others",
                where=str(dataset.folder),
                remedy="name the next data of the same shop, or train a new run on it",
            )
        values = Rows.of(attribute_values(spec, old), attribute_values(spec, dataset))
        return cls(**vars(found), items=items, values=values)

    def load_into(self, system: System, settings: Settings) -> Transfer:
        """Put the weights into a system of the new data, row by row where they are of items.

        Raises:
            InputError: another system, or weights of other sizes.
        """
        mine, tables = system.state_dict(), self._tables(settings, system)
        weights = {
            name: value for name, value in self.weights.items() if not name.startswith(COUNTED)
        }
        differ = [
            name
            for name, value in weights.items()
            if name not in mine or (name not in tables and value.shape != mine[name].shape)
        ]
        differ += sorted(mine.keys() - weights.keys())
        if differ:
            raise InputError(
                f"its weight {differ[0]!r} does not fit the new run",
                where=str(self.folder.path),
                remedy="update takes the run's own settings: leave those of the model out",
            )
        loaded = {
            name: tables[name].moved(value, mine[name]) if name in tables else value
            for name, value in weights.items()
        }
        system.load_state_dict(loaded)
        return Transfer(
            run=str(self.folder.path.resolve()),
            sha256=self.sha256,
            domains=[domain.name for domain in self.origin.domains],
            loaded=sorted(loaded),
            new=[],
            left_out=[],
            frozen=[],
            settings={},
            items=self.items.kept(),
            values=self.values.kept() if any(r is self.values for r in tables.values()) else None,
        )

    def _tables(self, settings: Settings, system: System) -> dict[str, Rows]:
        """The weights with a row an item or a value: one item or value more makes them longer."""
        sizes = sizes_of(settings, Dataset.open(settings.data, verify=False))
        assert sizes.items is not None
        *others, last = sizes.attributes or (0,)
        one_item = replace(sizes, items=sizes.items + 1)
        one_value = replace(sizes, attributes=(*others, last + 1))
        return {
            **dict.fromkeys(_longer(settings, system, one_item), self.items),
            **dict.fromkeys(_longer(settings, system, one_value), self.values),
        }


def _longer(settings: Settings, system: System, sizes: Sizes) -> set[str]:
    """The names of weights that have another shape in a system of other sizes."""
    # The other system's random weights must not change what is drawn afterwards.
    with torch.random.fork_rng(devices=[]):
        other = build_system(settings, sizes).state_dict()
    return {name for name, value in system.state_dict().items() if other[name].shape != value.shape}


@dataclass(frozen=True)
class UpdateResult:
    """How an update ended; ``update.json`` of the new run says the same.

    Attributes:
        run: where the new run lies at the end.
        old: where the run that it goes on from lies at the end.
        items: how many items were kept, are new, and are gone.
        values: the same of attributes' values; None where none are read.
        check: the new run against the old one's weights, on the new validation part; None where
            the training was interrupted.
        replaced: whether the two changed places.
        result: what the training left in ``result.json``.
    """

    run: Path
    old: Path
    items: ItemsKept
    values: ItemsKept | None
    check: Check | None
    replaced: bool
    result: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """The JSON contract of ``miracle update``."""
        return {
            "run": str(self.run),
            "old": str(self.old),
            "items": self.items.model_dump(),
            **({} if self.values is None else {"values": self.values.model_dump()}),
            "check": None if self.check is None else self.check.summary(),
            "replaced": self.replaced,
            "valid": self.result.get("valid"),
        }


def update(
    run: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    changes: dict[str, Any] | None = None,
    replace_old: bool = False,
    overwrite: bool = False,
    train: Train = finetune,
    progress: Progress = SILENT,
) -> UpdateResult:
    """Go on with a run on other data of the same shop.

    Args:
        run: the run to go on from.
        data: the new Dataset, with text vectors of the run's encoder where it reads text.
        out: the new run folder.
        changes: nested settings of the training that override the run's, such as its epochs.
        replace_old: let the new run take the old one's place if it is no worse; the old one is then
            in ``out``.
        overwrite: replace a run that is in ``out`` already.
        train: trains as :func:`finetune` does; the command line passes one that shows progress.
        progress: shows the ranking before and after the training.

    Raises:
        InputError: no run to go on from, data that it can't read (another encoder, no common item),
            changed settings of the model, or ``out`` is taken; with ``replace_old``, the two
            folders can't change places.
        MiracleError: the loss is no longer finite.
    """
    old, new = as_path(run), as_path(out)
    if new.resolve() == old.resolve():
        raise InputError(
            "is the run itself",
            where=f"--out {out}",
            remedy="name another folder; --replace lets the new run take the old one's place",
        )
    if replace_old and new.resolve().parent != old.resolve().parent:
        raise InputError(
            "lies elsewhere than the run, so they can't change places",
            where=f"--out {out}",
            remedy=f"name a folder in {old.resolve().parent}",
        )
    dataset = Dataset.open(data)
    beginning = Beginning.of(old, dataset)
    settings = _settings(beginning.settings, dataset, changes or {})
    settings = resolved(settings, dataset, beginning)
    dataset.require_examples("train", "valid")
    before, values = _before(beginning, settings, dataset, progress)
    kept = beginning.items.kept(), values
    result = train(settings, new, start=beginning, overwrite=overwrite)
    if result["status"] == "interrupted":
        return UpdateResult(new, old, *kept, None, False, result)
    after = evaluate_run(new, split="valid", ks=cut_offs(settings.metric_k), progress=progress)
    check = check_not_worse(
        str(new), after.found, f"{old} before it", before, settings.train.metric
    )
    replaced = replace_old and not check.failed
    ends = (old, new) if replaced else (new, old)
    done = UpdateResult(*ends, *kept, check, replaced, result)
    if processes().first:
        write_json(new / FILE, done.summary())
        if replaced:
            _swap(old, new)
    return done


def _settings(old: Settings, dataset: Dataset, changes: dict[str, Any]) -> Settings:
    """The run's settings, on the new data.

    Raises:
        InputError: ``changes`` has settings of the model, or wrong ones.
    """
    if "model" in changes:
        raise InputError(
            "the model stays as it is",
            where="model",
            remedy="train a new run to change it: miracle train",
        )
    known = old.model_dump(mode="json")
    known["train"]["freeze"] = False
    ground = known | {"data": str(dataset.folder), "pretrained": ""}
    return make_settings(ground, changes, where="options")


def _before(
    beginning: Beginning, settings: Settings, dataset: Dataset, progress: Progress
) -> tuple[Evaluation, ItemsKept | None]:
    """The evaluation of the old run's weights on the new validation part.

    Returns:
        The evaluation, and how many rows of attribute values are kept; None if none are read.
    """
    together = processes()
    torch.manual_seed(settings.train.seed)  # new items begin as they will in the training
    system = build_system(settings, sizes_of(settings, dataset))
    values = beginning.load_into(system, settings).values
    count_cooccurrence(system, settings, dataset)
    system = system.to(together.device).eval()
    items = item_side(system, settings.spec, dataset, settings.encoder or None, together.device)
    found = evaluate(
        system.scorer(items),
        dataset,
        "valid",
        ks=cut_offs(settings.metric_k),
        leave_out=settings.seen == "leave-out",
        progress=progress,
        processes=together,
    )
    return found, values


def _swap(old: Path, new: Path) -> None:
    """Let two run folders change places.

    Raises:
        InputError: the file system can't; both stay where they are.
    """
    with one_writer(old), one_writer(new):
        if not exchange(old.resolve(), new.resolve()):
            raise InputError(
                "this file system can't let two folders change places",
                where=str(old),
                remedy=f"the new run is no worse; move it: {command('mv', new, old)}",
            )
