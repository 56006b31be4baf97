"""A run folder: the files that a training leaves behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import orjson
from torch import Tensor

from miracle_core.config import Settings, dump_settings, load_settings
from miracle_core.data.dataset import Dataset
from miracle_core.data.storage import load_array
from miracle_core.errors import InputError
from miracle_core.files import (
    read_json,
    replacing,
    replacing_folder,
    restore,
    to_overwrite,
    write_json,
    write_text,
)
from miracle_core.paths import as_path, portable
from miracle_core.runs.records import (
    CONFIG,
    METRICS,
    PARTS,
    RESULT,
    WEIGHTS,
    Weights,
    parsed_metrics,
)
from miracle_core.runs.tensors import load_tensors

if TYPE_CHECKING:
    import pandas as pd

# How many runs in a folder of runs a message names.
SHOWN = 3


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run.

    Attributes:
        path: the folder.
    """

    path: Path

    def __post_init__(self) -> None:
        """Accept a path given as text, too."""
        object.__setattr__(self, "path", as_path(self.path))

    @property
    def config(self) -> Path:
        """Every setting of the run."""
        return self.path / CONFIG

    @property
    def weights(self) -> Path:
        """The best weights so far."""
        return self.path / WEIGHTS["best"]

    @property
    def data(self) -> Path:
        """The Dataset the run was trained on."""
        return self.path / "data"

    @property
    def metrics(self) -> Path:
        """One JSON line a validation."""
        return self.path / METRICS

    @property
    def result(self) -> Path:
        """The final figures."""
        return self.path / RESULT

    @property
    def state(self) -> Path:
        """All that resuming needs."""
        return self.path / WEIGHTS["last"]

    @property
    def examples(self) -> Path:
        """Which training examples were learned from, where not all were."""
        return self.path / "examples.npy"

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
        examples: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Start a run folder: its settings, and the Dataset beside them.

        Args:
            settings: the run's.
            dataset: what it is trained on; None for a pre-training, which keeps no copy.
            overwrite: replace a run that is there.
            transfer: what was taken over from another run.
            examples: int64 [examples], the positions of the targets that are learned from; None
                where all are.

        Raises:
            InputError: the folder holds something already and may not be overwritten.
        """
        self.check_free(overwrite=overwrite)
        with replacing_folder(self.path) as beside:
            fresh = RunFolder(beside)
            write_text(fresh.config, dump_settings(self._portable(settings)))
            if dataset is not None:
                _copy_dataset(dataset, fresh.data, settings.encoder)
            if transfer is not None:
                where = portable(transfer["run"], self.path)
                write_json(fresh.transfer, {**transfer, "run": where})
            if examples is not None:
                np.save(fresh.examples, examples)

    def _portable(self, settings: Settings) -> Settings:
        """The settings as ``config.toml`` holds them: paths relative to the run folder."""
        return settings.model_copy(
            update={
                "data": settings.data and portable(settings.data, self.path),
                "pretrained": settings.pretrained and portable(settings.pretrained, self.path),
                "datasets": [portable(each, self.path) for each in settings.datasets],
            }
        )

    def copy_to(self, path: Path) -> None:
        """Copy a run that starts from no other run.

        Relative paths in its settings are changed so that they lead to the same places.

        Args:
            path: the new folder; a run that is there is replaced.
        """
        settings = self.settings()
        with replacing_folder(path) as beside:
            shutil.copytree(self.path, beside, dirs_exist_ok=True)
            write_text(RunFolder(beside).config, dump_settings(RunFolder(path)._portable(settings)))

    def check_free(self, *, overwrite: bool) -> None:
        """Refuse a path that a new run may not take.

        Raises:
            InputError: it holds something already; with ``overwrite``, something that is not a run.
        """
        restore(self.path)
        if to_overwrite(self.path, overwrite=overwrite) and not self.config.is_file():
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
            restore(self.path)
        if not self.config.is_file():
            lacks = "it has no config.toml" if self.path.exists() else "there is no such folder"
            raise InputError(
                f"is not a run folder ({lacks})",
                where=str(self.path),
                remedy=self._runs_inside()
                or "train one with: miracle finetune --data DATA --out RUN",
            )
        return load_settings(self.config)

    def _runs_inside(self) -> str | None:
        """A remedy that names the runs in a folder of runs, as ``--seeds`` leaves it; or None."""
        runs = sorted(str(config.parent) for config in self.path.glob(f"*/{self.config.name}"))
        if not runs:
            return None
        more = f" ({len(runs) - SHOWN:,} more)" if len(runs) > SHOWN else ""
        return f"name a run that is in it: {', '.join(runs[:SHOWN])}{more}"

    def dataset(self, *, verify: bool = True) -> Dataset:
        """The Dataset the run was trained on."""
        return Dataset.open(self.data, verify=verify)

    def history(self) -> list[dict[str, Any]]:
        """The validations so far, oldest first; a damaged line and all after it are left out."""
        if not self.metrics.is_file():
            return []
        return list(parsed_metrics(self.metrics.read_bytes()).records)

    def frame(self) -> pd.DataFrame:
        """The validations so far as a pandas DataFrame, a row an epoch.

        Columns are named as TensorBoard's curves: ``epoch``, ``step``, ``train/loss``,
        ``valid/recall@10``, ``figures/capsules_in_use``, ``valid NAME/recall@10`` of each of
        several Datasets, and ``best`` and ``seconds``. A system that is fitted at once has no row.
        """
        import pandas as pd

        rows = []
        for record in self.history():
            row: dict[str, Any] = {name: record[name] for name in ("epoch", "step")}
            for group in PARTS:
                row |= {f"{group}/{name}": value for name, value in record[group].items()}
            for domain, metrics in record.get("domains", {}).items():
                row |= {f"valid {domain}/{name}": value for name, value in metrics.items()}
            rows.append({**row, "best": record["best"], "seconds": record["seconds"]})
        return pd.DataFrame(rows)

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

    def read_examples(self) -> npt.NDArray[np.int64] | None:
        """The positions of the targets that were learned from, or None where all were."""
        return load_array(self.examples, 1, "<i8") if self.examples.is_file() else None

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
        # As in a validation: the running mean in place of each trained weight.
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


def _copy_dataset(dataset: Dataset, target: Path, encoder: str) -> None:
    """Put a Dataset's files into a run folder, with one encoder's features or none.

    Files are linked where the file system can: Datasets are never written in place.
    """
    target.mkdir()
    entry = dataset.feature_set(encoder) if encoder else None
    names = [*dataset.manifest.files, *([] if entry is None else [entry.file])]
    for name in names:
        try:
            os.link(dataset.folder / name, target / name)
        except OSError:
            shutil.copyfile(dataset.folder / name, target / name)
    features = {} if entry is None else {entry.encoder.name: entry}
    kept = dataset.manifest.model_copy(update={"features": features})
    write_json(target / "manifest.json", kept.model_dump(mode="json"))
