"""Opening a run: the system that its settings name, with its weights, over a Dataset."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from miracle_core.config import Settings
from miracle_core.data.attributes import Attributes
from miracle_core.data.dataset import Dataset
from miracle_core.data.manifest import ATTRIBUTES
from miracle_core.errors import InputError, command
from miracle_core.ranking.applied import Ability, Applied
from miracle_core.ranking.rules import Rules
from miracle_core.registry import SystemSpec
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.origin import Origin
from miracle_core.runs.records import Weights, best_epoch_of, epoch_of
from miracle_core.runs.tensors import load_weights
from miracle_core.systems.attributes import ItemAttributes
from miracle_core.systems.base import ItemSide, Sizes, System
from miracle_core.systems.cooccurrence import Cooccurrence
from miracle_core.systems.scorer import Scorer


def build_system(settings: Settings, sizes: Sizes) -> System:
    """The system that the settings name, with fresh weights.

    Raises:
        InputError: the class is no :class:`System`, or the system can't take the layout that the
            settings ask for.
    """
    spec = settings.spec
    system = spec.system_class().build(settings, sizes)
    if not isinstance(system, System):
        raise InputError(
            f"is not a System but {type(system).__name__}",
            where=spec.system,
            remedy="derive it from miracle_core.systems.base.System (docs/systems.md)",
        )
    system.loss, system.layout = settings.loss, settings.train.layout
    if system.layout == "padded" and not (system.padded and system.max_length):
        raise InputError(
            f"{spec.name} does not take padded histories",
            where="train.layout",
            remedy="leave it at auto, or write packed",
        )
    return system


# Where the names of what is counted in a Dataset begin, among those of weights.
COUNTED = "cooccurrence."


def expect_cooccurrence(system: System, settings: Settings, n_items: int) -> None:
    """Give a system empty counts of co-occurrence, if its settings ask for them."""
    own = settings.cooccurrence
    if own.weight:
        system.cooccurrence = Cooccurrence(own, n_items, system.temperature)


def count_cooccurrence(system: System, settings: Settings, dataset: Dataset) -> None:
    """Count a Dataset's co-occurrence for a system, if its settings ask for it."""
    expect_cooccurrence(system, settings, dataset.n_items)
    if system.cooccurrence is not None:
        system.cooccurrence.fit(dataset)


def check_needs(spec: SystemSpec, dataset: Dataset) -> None:
    """Refuse a Dataset that lacks what a system needs.

    Raises:
        InputError: naming what is missing.
    """
    if "text" in spec.needs and not dataset.manifest.features:
        raise InputError(
            f"has no text features, and {spec.name} reads items by their text",
            where=str(dataset.folder),
            remedy=(
                "make some with: "
                + command("miracle", "encode", dataset.folder, "--encoder", "minilm")
                if dataset.manifest.text
                else "preprocess files with titles"
            )
            + "; or train a system that needs no text (miracle models)",
        )


def sizes_of(settings: Settings, dataset: Dataset) -> Sizes:
    """The sizes of a system that is trained on a Dataset."""
    spec, width = settings.spec, None
    if "text" in spec.needs:
        width = dataset.feature_set(settings.encoder or None).encoder.width
    read = read_attributes(spec, dataset)
    return Sizes(dataset.n_items, width, () if read is None else read.sizes)


def read_attributes(spec: SystemSpec, dataset: Dataset) -> ItemAttributes | None:
    """The attributes of a Dataset's items for a system that reads them; None where none are."""
    if "attributes" not in spec.reads or not dataset.attributes.height:
        return None
    return ItemAttributes.of(Attributes.of(dataset.attributes, dataset.n_items))


def attribute_values(spec: SystemSpec, dataset: Dataset) -> tuple[tuple[str, str], ...]:
    """(attribute, value) by the number that a system knows it by; empty where none are read."""
    if "attributes" not in spec.reads or not dataset.attributes.height:
        return ()
    return Attributes.of(dataset.attributes, dataset.n_items).values


def attribute_counts(spec: SystemSpec, dataset: Dataset) -> dict[str, Any]:
    """What a result says of the attributes that a system reads: how many values each has."""
    if "attributes" not in spec.reads:
        return {}
    table = dataset.attributes.group_by("attribute").agg(pl.col("value").n_unique())
    return {"attributes": dict(table.sort("attribute").iter_rows())}


def item_side(
    system: System,
    spec: SystemSpec,
    dataset: Dataset,
    encoder: str | None,
    device: torch.device | str = "cpu",
) -> ItemSide:
    """What a system reads of a Dataset's items.

    Args:
        system: prepares the text vectors.
        spec: says what the system reads.
        dataset: the items.
        encoder: the name of the text features; None takes the only ones.
        device: where they are put.

    Raises:
        InputError: no such features, or a file that is not what was written.
    """
    text = None
    if "text" in spec.needs:
        raw = torch.from_numpy(dataset.features(encoder, verify=True).astype("float32"))
        text = system.prepared(raw.to(device))
    return ItemSide(text, attributes=read_attributes(spec, dataset)).to(device)


def data_hash(
    settings: Settings, dataset: Dataset, examples: npt.NDArray[np.int64] | None = None
) -> str:
    """One hash for all that training reads: catalogue, sequences, split, and text if it is read.

    Args:
        settings: of the run.
        dataset: what it learns from.
        examples: int64 [examples], the positions of the targets that are learned from; None where
            all are.
    """
    parts = [dataset.manifest.fingerprint]
    if "text" in settings.spec.needs:
        parts.append(dataset.feature_set(settings.encoder or None).sha256)
    if examples is not None:
        parts.append(hashlib.sha256(examples.astype("<i8").tobytes()).hexdigest())
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def origin_of(settings: Settings, dataset: Dataset) -> Origin:
    """What a run on one Dataset learns from."""
    encoder = None
    if "text" in settings.spec.needs:
        encoder = dataset.feature_set(settings.encoder or None).encoder
    return Origin.of([dataset], encoder)


@dataclass(frozen=True)
class TrainedRun:
    """A run, loaded.

    Attributes:
        folder: where it lies.
        settings: its settings.
        dataset: the Dataset that is read: the run's own, or another.
        items: what the system reads of the Dataset's items.
        system: with its weights, in evaluation mode.
        weights_from: ``best`` or ``last``, which weights these are.
        epoch: how many epochs they were trained for, or None if their file doesn't say.
        origin: what the weights were learned from.
        encoder: the name of the Dataset's text features that are read; None for none.
    """

    folder: RunFolder
    settings: Settings
    dataset: Dataset
    items: ItemSide
    system: System
    weights_from: Weights
    epoch: int | None
    origin: Origin
    encoder: str | None

    @property
    def spec(self) -> SystemSpec:
        """The system, as the registry has it."""
        return self.settings.spec

    def on(self, device: torch.device | str) -> TrainedRun:
        """The same run on a device."""
        moved = {
            **self.__dict__,
            "items": self.items.to(device),
            "system": self.system.to(device),
        }
        return TrainedRun(**moved)

    def applied(self, rules: Rules | None, scorer: Scorer) -> Applied | None:
        """Rules over the run's catalogue; None where nothing is asked.

        Args:
            rules: what is asked.
            scorer: what ranks.

        Raises:
            InputError: see :meth:`Applied.of`.
        """
        if rules is None or rules.empty:
            return None
        capsules = scorer.n_interests if scorer.capsules else 0
        text = self.items.text
        ability = Ability(self.spec.name, capsules, scorer.n_interests > 1, text)
        weights = chain(self.system.parameters(), self.system.buffers())
        of = next(weights, text)  # a system may have none
        device = "cpu" if of is None else of.device
        return Applied.of(rules, self.dataset, ability, device)

    def scorer(self, *, gain: bool = True) -> Scorer:
        """What ranks the Dataset's items."""
        return self.system.scorer(self.items, gain=gain)


def load_run(
    path: str | Path,
    data: Dataset | None = None,
    *,
    encoder: str | None = None,
    verify: bool = True,
    weights: Weights | None = None,
) -> TrainedRun:
    """Load a run: the best weights, or the last checkpoint's.

    Args:
        path: the run folder.
        data: a Dataset to read in place of the run's own; a pre-trained run has none of its own.
        encoder: the name of the text features of ``data`` that are read; None takes those of the
            run's encoder.
        verify: compare the run's own data with its hashes.
        weights: which are loaded; None takes the best, or the last where there has been no
            validation yet.

    Raises:
        InputError: not a run folder, no weights in it, weights of another system or that don't fit
            its settings, the best weights are missing though there has been a validation, data
            that is not what they were learned from, or other data that they can't read.
    """
    folder = RunFolder(Path(path))
    settings = folder.settings()
    spec = settings.spec
    if settings.datasets and not spec.zero_shot:
        raise InputError(
            f"is a pre-training of {spec.name}, which knows items one by one and ranks nothing "
            "before it is fine-tuned (there is no zero-shot)",
            where=str(path),
            remedy="fine-tune it on its Dataset: miracle finetune --from RUN --data DATA --out NEW",
        )
    if settings.datasets and data is None:
        raise InputError(
            "is a pre-trained run: it has no Dataset of its own",
            where=str(path),
            remedy="name one: --data DATA, or fine-tune it: "
            "miracle finetune --from RUN --data DATA --out NEW",
        )
    tensors, metadata, which = folder.read_weights(weights)
    where = str(folder.path)
    check_kind(metadata, spec, where)
    if weights is None and which == "last":
        _check_no_best(folder, metadata)
    if settings.datasets:
        origin = Origin.read(metadata, where)
        width = None if origin.encoder is None else origin.encoder.width
        system = build_system(settings, Sizes(None, width))
    else:
        own = folder.dataset(verify=verify)
        origin = origin_of(settings, own)
        system = build_system(settings, sizes_of(settings, own))
        expect_cooccurrence(system, settings, own.n_items)
        if metadata.get("data") != data_hash(settings, own, folder.read_examples()):
            raise InputError(
                "the run's data is not what its weights were learned from",
                where=str(folder.data),
                remedy="bring the run's own data back, or train again into another folder",
            )
    load_weights(system, tensors, where=where)
    if data is None:
        dataset, name = own, settings.encoder or None
    else:
        if settings.train.mode == "transductive" and not origin.knows(data):
            raise _unknown_catalogue(spec, folder, own, data)
        if not settings.datasets:
            _check_attributes(spec, own, data)
        dataset, name = data, None
        if "text" in spec.needs:
            name = origin.features_of(data, encoder).encoder.name
    if "text" in spec.needs and name is None:
        name = dataset.feature_set().encoder.name
    items = item_side(system, spec, dataset, name)
    return TrainedRun(
        folder, settings, dataset, items, system.eval(), which, epoch_of(metadata), origin, name
    )


def _check_no_best(folder: RunFolder, metadata: dict[str, str]) -> None:
    """Refuse a checkpoint in place of best weights that were there, as in half a copy of a run.

    Raises:
        InputError: there has been a validation, so there were best weights.
    """
    best = best_epoch_of(metadata)
    if best and not folder.weights.is_file():  # unless a training has just written it
        raise InputError(
            f"is missing: it held the best weights, those of epoch {best}",
            where=str(folder.weights),
            remedy="copy the whole run again, or train it again: --overwrite",
        )


def _unknown_catalogue(
    spec: SystemSpec, folder: RunFolder, own: Dataset, other: Dataset
) -> InputError:
    """The refusal of a catalogue that a transductive run was not trained on."""
    if other.items.drop("domain").equals(own.items.drop("domain")):
        return InputError(
            f"it has the run's items, but the name {other.name!r}, and the run knows them as those "
            f"of {own.name!r}",
            where=str(other.folder),
            remedy=f"make it again with --name {command(own.name)}",
        )
    words = ["miracle", "update", folder.path, "--data", other.folder, "--out", "NEW_RUN"]
    remedy = f"adapt the run to it: {command(*words)}"
    if spec.stages == ("fit",):
        remedy = "train on this Dataset: that takes a moment"
    elif "inductive" in spec.modes:
        remedy += "; or train with --mode inductive"
    return InputError(
        f"the run is transductive: it knows the items of {own.name!r} one by one, and "
        f"{other.name!r} has another catalogue",
        where=str(other.folder),
        remedy=remedy,
    )


def _check_attributes(spec: SystemSpec, own: Dataset, other: Dataset) -> None:
    """Refuse attributes that a system doesn't know: it numbers the values of its own Dataset.

    Raises:
        InputError: they differ.
    """
    mine, theirs = (dataset.manifest.files.get(ATTRIBUTES) for dataset in (own, other))
    if "attributes" in spec.reads and mine != theirs:
        raise InputError(
            f"its items have other attributes than those that the run was trained on "
            f"({own.name!r})",
            where=str(other.folder),
            remedy="preprocess it as the run's own Dataset was, or train on it",
        )


def check_kind(metadata: dict[str, str], spec: SystemSpec, where: str) -> None:
    """Refuse weights of another system than the settings name; older files hold MIRACLE's.

    Raises:
        InputError: they are another system's.
    """
    kind = metadata.get("kind", "miracle")
    if kind != spec.name:
        raise InputError(
            f"holds weights of {kind!r}, and its settings are of {spec.name!r}",
            where=where,
            remedy="bring the run's own config.toml and weights back, or train again",
        )
