"""A run folder: what a training leaves behind, and how it is opened again (design, section 2)."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
import torch
from torch import Tensor

from miracle_core.config import Settings, dump_settings, load_settings
from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError
from miracle_core.files import (
    read_json,
    replacing,
    replacing_folder,
    write_json,
    write_text,
)
from miracle_core.model.miracle import Miracle
from miracle_core.training.checkpoint import epoch_of
from miracle_core.training.origin import Origin
from miracle_core.training.tensors import load_tensors, load_weights

Weights = Literal["best", "last"]


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """Every setting of the run."""
        return self.path / "config.toml"

    @property
    def weights(self) -> Path:
        """The best weights so far."""
        return self.path / "model.safetensors"

    @property
    def data(self) -> Path:
        """The Dataset the run was trained on."""
        return self.path / "data"

    @property
    def metrics(self) -> Path:
        """One JSON line a validation."""
        return self.path / "metrics.jsonl"

    @property
    def result(self) -> Path:
        """The final figures."""
        return self.path / "result.json"

    @property
    def state(self) -> Path:
        """All that resuming needs."""
        return self.path / "checkpoints" / "last" / "state.safetensors"

    @property
    def transfer(self) -> Path:
        """What was taken over from another run."""
        return self.path / "transfer.json"

    def create(
        self,
        settings: Settings,
        dataset: Dataset | None,
        *,
        overwrite: bool,
        transfer: Mapping[str, Any] | None = None,
    ) -> None:
        """Start a run folder: its settings, and the Dataset beside them.

        Args:
            settings: the run's.
            dataset: what it is trained on; None for a pre-training, which keeps no copy.
            overwrite: replace a run that is there.
            transfer: what was taken over from another run.

        Raises:
            InputError: the folder holds something already and may not be overwritten.
        """
        self.check_free(overwrite=overwrite)
        with replacing_folder(self.path) as beside:
            fresh = RunFolder(beside)
            write_text(fresh.config, dump_settings(settings))
            if dataset is not None:
                _copy_dataset(dataset, fresh.data, settings.encoder)
            if transfer is not None:
                write_json(fresh.transfer, transfer)

    def check_free(self, *, overwrite: bool) -> None:
        """Refuse a path that a new run may not take.

        Raises:
            InputError: it holds something already; with ``overwrite``, something that is not a run.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            if not overwrite:
                raise InputError(
                    "already holds something",
                    where=str(self.path),
                    remedy="choose another --out, continue with --resume, or say --overwrite",
                )
            if not self.config.is_file():
                raise InputError(
                    "is not a run folder, so it will not be overwritten",
                    where=str(self.path),
                    remedy="choose another --out",
                )

    def settings(self) -> Settings:
        """The run's settings.

        Raises:
            InputError: not a run folder, or settings that can't be read.
        """
        if not self.config.is_file():
            raise InputError(
                "is not a run folder (it has no config.toml)",
                where=str(self.path),
                remedy="train one with: miracle finetune --data DATA --out RUN",
            )
        return load_settings(self.config)

    def dataset(self, *, verify: bool = True) -> Dataset:
        """The Dataset the run was trained on."""
        return Dataset.open(self.data, verify=verify)

    def history(self) -> list[dict[str, Any]]:
        """The validations so far, oldest first; from the first bad line on they are left out."""
        if not self.metrics.is_file():
            return []
        records: list[dict[str, Any]] = []
        for line in self.metrics.read_bytes().splitlines():
            try:
                record = orjson.loads(line)
            except orjson.JSONDecodeError:
                break
            if not isinstance(record, dict) or record.get("epoch") != len(records) + 1:
                break
            records.append(record)
        return records

    def write_history(self, records: list[dict[str, Any]]) -> None:
        """Replace the validations."""
        with replacing(self.metrics) as beside:
            beside.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))

    def read_transfer(self) -> dict[str, Any] | None:
        """What was taken over from another run, or None for a run from scratch."""
        if not self.transfer.is_file():
            return None
        value: dict[str, Any] = read_json(self.transfer)
        return value

    def read_weights(
        self, which: Weights | None = None
    ) -> tuple[dict[str, Tensor], dict[str, str], Weights]:
        """The best weights, or the last checkpoint's. No others are kept.

        Args:
            which: ``best`` or ``last``; None takes the best, or the last where no validation has
                been yet.

        Returns:
            The weights, their file's metadata, and ``best`` or ``last``.

        Raises:
            InputError: there are none, or a damaged file.
        """
        if which != "last" and self.weights.is_file():
            return *load_tensors(self.weights), "best"
        if which == "best" or not self.state.is_file():
            what = f"has no {which} weights" if which else "has no weights yet"
            remedy = "let the training go on: --resume"
            raise InputError(what, where=str(self.path), remedy=remedy)
        tensors, metadata = load_tensors(self.state)
        weights = {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}
        # As a validation takes them: the mean of those that are trained.
        weights |= {k[5:]: v for k, v in tensors.items() if k.startswith("mean.")}
        return weights, metadata, "last"

    def write_result(self, result: dict[str, Any]) -> None:
        """Write the final figures."""
        write_json(self.result, result)

    def read_result(self) -> dict[str, Any] | None:
        """The final figures, or None while there are none."""
        if not self.result.is_file():
            return None
        value: dict[str, Any] = read_json(self.result)
        return value


def build_model(settings: Settings, dataset: Dataset) -> Miracle:
    """A model with fresh weights for a Dataset."""
    width = dataset.feature_set(settings.encoder or None).encoder.width
    items = dataset.n_items if settings.train.mode == "transductive" else None
    return Miracle(settings.model, width, items)


def build_pretraining_model(settings: Settings, text_width: int) -> Miracle:
    """A model with fresh weights for a pre-training: no item embeddings, but a [MASK] vector."""
    return Miracle(settings.model, text_width, mask=True)


def text_vectors(dataset: Dataset, encoder: str | None = None) -> Tensor:
    """The Dataset's text vectors of one encoder (None: of the only one), float32 [items, d_b].

    Raises:
        InputError: no such features, or a file that is not what was written.
    """
    return torch.from_numpy(dataset.features(encoder, verify=True).astype("float32"))


def data_hash(settings: Settings, dataset: Dataset) -> str:
    """One hash for all that training reads: catalogue, sequences, split and text vectors."""
    features = dataset.feature_set(settings.encoder or None).sha256
    return hashlib.sha256(f"{dataset.manifest.fingerprint} {features}".encode()).hexdigest()


@dataclass(frozen=True)
class TrainedRun:
    """A run, loaded.

    Attributes:
        folder: where it lies.
        settings: its settings.
        dataset: the Dataset that is read: the run's own, or another.
        text: float32 [items, d_b], the Dataset's scaled text vectors (``Miracle.scaled_text``).
        model: with its weights, in evaluation mode.
        weights_from: ``best`` or ``last``, which weights these are.
        epoch: how many epochs they had behind them, or None if their file doesn't say.
        origin: what the weights were learned from.
    """

    folder: RunFolder
    settings: Settings
    dataset: Dataset
    text: Tensor
    model: Miracle
    weights_from: Weights
    epoch: int | None
    origin: Origin


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
        encoder: whose text features of ``data`` are read; None takes those of the run's encoder.
        verify: compare the run's own data with its hashes.
        weights: which are loaded; None takes the best, or the last where there has been no
            validation yet.

    Raises:
        InputError: not a run folder, no weights in it, weights that don't fit its settings, data
            that is not what they were learned from, or other data that they can't read.
    """
    folder = RunFolder(Path(path))
    settings = folder.settings()
    if settings.datasets and data is None:
        raise InputError(
            "is a pre-trained run: it has no Dataset of its own",
            where=str(path),
            remedy="name one: miracle evaluate RUN --data DATA, or "
            "miracle finetune --from RUN --data DATA --out NEW",
        )
    tensors, metadata, which = folder.read_weights(weights)
    where = str(folder.path)
    if settings.datasets:
        origin = Origin.read(metadata, where)
        model = build_pretraining_model(settings, origin.encoder.width)
    else:
        own = folder.dataset(verify=verify)
        origin = Origin.of([own], own.feature_set(settings.encoder or None).encoder)
        model = build_model(settings, own)
        if metadata.get("data") != data_hash(settings, own):
            raise InputError(
                "the run's data is not what its weights were learned from",
                where=str(folder.data),
                remedy="bring the run's own data back, or train again into another folder",
            )
    load_weights(model, tensors, where=where)
    if data is None:
        dataset, name = own, settings.encoder or None
    else:
        if model.identity is not None and not origin.knows(data):
            raise InputError(
                f"the run is transductive: it knows the items of {origin.names!r} by an "
                f"embedding each, and {data.name!r} has another catalogue",
                where=str(data.folder),
                remedy="evaluate an inductive run, or fine-tune on this Dataset",
            )
        dataset, name = data, origin.features_of(data, encoder).encoder.name
    text = model.scaled_text(text_vectors(dataset, name))
    epoch = epoch_of(metadata)
    return TrainedRun(folder, settings, dataset, text, model.eval(), which, epoch, origin)


def _copy_dataset(dataset: Dataset, target: Path, encoder: str) -> None:
    """Put a Dataset's files into a run folder, with one encoder's features.

    Files are linked where the file system can: Datasets are never written in place.
    """
    target.mkdir()
    entry = dataset.feature_set(encoder or None)
    names = [*dataset.manifest.files, entry.file]
    for name in names:
        try:
            os.link(dataset.folder / name, target / name)
        except OSError:
            shutil.copyfile(dataset.folder / name, target / name)
    kept = dataset.manifest.model_copy(update={"features": {entry.encoder.name: entry}})
    write_json(target / "manifest.json", kept.model_dump(mode="json"))
