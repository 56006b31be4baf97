"""A run folder: what a training leaves behind, and how it is opened again (design, section 2)."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from miracle_core.config import Settings, dump_settings, load_settings
from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError
from miracle_core.files import (
    read_json,
    replacing,
    replacing_folder,
    sha256_file,
    write_json,
    write_text,
)
from miracle_core.model.miracle import Miracle


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

    def create(self, settings: Settings, dataset: Dataset, *, overwrite: bool) -> None:
        """Start a run folder: its settings, and the Dataset beside them.

        Raises:
            InputError: the folder holds something already and may not be overwritten.
        """
        self.check_free(overwrite=overwrite)
        with replacing_folder(self.path) as beside:
            fresh = RunFolder(beside)
            write_text(fresh.config, dump_settings(settings))
            _copy_dataset(dataset, fresh.data, settings.encoder)

    def check_free(self, *, overwrite: bool) -> None:
        """Refuse a path that a new run may not take.

        Raises:
            InputError: it holds something already; with ``overwrite``, something that is no run.
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
                    "is no run folder, so it will not be overwritten",
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

    def write_result(self, result: dict[str, Any]) -> None:
        """Write the final figures."""
        write_json(self.result, result)

    def read_result(self) -> dict[str, Any] | None:
        """The final figures, or None while there are none."""
        if not self.result.is_file():
            return None
        value: dict[str, Any] = read_json(self.result)
        return value


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as beside:
        save_file(plain, beside, metadata)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file: tensors on the CPU, and its metadata.

    Raises:
        InputError: missing, cut off or not a safetensors file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"can't be read as safetensors: {error}", where=str(path)) from error


def build_model(settings: Settings, dataset: Dataset) -> Miracle:
    """A model with fresh weights for a Dataset."""
    width = dataset.feature_set(settings.encoder or None).encoder.width
    items = dataset.n_items if settings.train.mode == "transductive" else None
    return Miracle(settings.model, width, items)


def text_vectors(dataset: Dataset, encoder: str | None = None) -> Tensor:
    """The Dataset's text vectors of one encoder (None: of the only one), float32 [items, d_b].

    Raises:
        InputError: no such features, or a file that is not what was written.
    """
    entry = dataset.feature_set(encoder)
    vectors = dataset.features(encoder)
    path = dataset.folder / entry.file
    if sha256_file(path) != entry.sha256:
        raise InputError(
            "has changed since it was written (its hash differs from the manifest's)",
            where=str(path),
            remedy="encode the items again",
        )
    return torch.from_numpy(vectors.astype("float32"))


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
        dataset: the Dataset it was trained on.
        text: float32 [items, d_b], the Dataset's scaled text vectors (``Miracle.scaled_text``).
        model: with its weights, in evaluation mode.
        weights_from: ``best`` or ``last``, which weights these are.
    """

    folder: RunFolder
    settings: Settings
    dataset: Dataset
    text: Tensor
    model: Miracle
    weights_from: str


def load_run(path: str | Path, *, verify: bool = True) -> TrainedRun:
    """Load a run: the best weights, or the last checkpoint's where no validation has been yet.

    Raises:
        InputError: not a run folder, no weights in it, weights that don't fit its settings, or
            data that is not what they were learned from.
    """
    folder = RunFolder(Path(path))
    settings = folder.settings()
    dataset = folder.dataset(verify=verify)
    model = build_model(settings, dataset)
    if folder.weights.is_file():
        source, which = folder.weights, "best"
        tensors, metadata = load_tensors(source)
    elif folder.state.is_file():
        source, which = folder.state, "last"
        tensors, metadata = load_tensors(source)
        prefix = "model."
        tensors = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    else:
        raise InputError(
            "has no weights yet", where=str(folder.path), remedy="let the training go on: --resume"
        )
    load_weights(model, tensors, where=str(source))
    text = text_vectors(dataset, settings.encoder or None)
    if metadata.get("data") != data_hash(settings, dataset):
        raise InputError(
            "the run's data is not what its weights were learned from",
            where=str(folder.data),
            remedy="bring the run's own data back, or train again into another folder",
        )
    return TrainedRun(folder, settings, dataset, model.scaled_text(text), model.eval(), which)


def load_weights(model: Miracle, tensors: dict[str, Tensor], *, where: str) -> None:
    """Put weights into a model of the same shapes.

    Raises:
        InputError: a weight is missing, unknown or of another shape; the first is named.
    """
    expected = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    for name in sorted(expected.keys() | tensors.keys()):
        have = tuple(tensors[name].shape) if name in tensors else None
        if expected.get(name) != have:
            raise InputError(
                f"weight {name!r} has shape {have}, the settings and data ask for "
                f"{expected.get(name)}",
                where=where,
                remedy="the run's config.toml, data or weights were changed; train again",
            )
    model.load_state_dict(tensors)


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
