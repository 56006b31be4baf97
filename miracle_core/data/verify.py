"""Whether a Dataset folder is still what was written, and holds together."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from miracle_core.data.dataset import Dataset
from miracle_core.data.interactions import check_unique
from miracle_core.errors import InputError
from miracle_core.files import sha256_file
from miracle_core.progress import SILENT, Progress, stage


def verify(folder: str | Path, progress: Progress = SILENT) -> list[str]:
    """Check every file's hash, the arrays against the manifest, the ids, and all text features.

    Args:
        folder: a Dataset folder.
        progress: hears of each check.

    Returns:
        What was found good, a line each.

    Raises:
        InputError: at the first thing that is not as it should be.
    """
    with stage(progress, "checking files and arrays"):
        dataset = Dataset.open(folder, verify=True)
    good = [f"{name}: as written" for name in sorted(dataset.manifest.files)]
    good.append(
        f"{dataset.n_users} users, {dataset.n_items} items, {dataset.n_interactions} interactions: "
        "the arrays fit the manifest"
    )
    for table, column, kind in (
        (dataset.items, "item_id", "item"),
        (dataset.users, "user_id", "user"),
    ):
        path = dataset.folder / f"{kind}s.parquet"
        check_unique(table[column], kind, partial(_row_of, path))
        good.append(f"{path.name}: every {column} once")
    for name, entry in dataset.manifest.features.items():
        path = dataset.folder / entry.file
        with stage(progress, f"checking {entry.file}"):
            if not path.is_file():
                raise InputError("is missing", where=str(path), remedy="encode the items again")
            if sha256_file(path) != entry.sha256:
                raise InputError(
                    "has changed since it was written (its hash differs from the manifest's)",
                    where=str(path),
                    remedy="encode the items again",
                )
            dataset.features(name)
        good.append(f"{entry.file}: as written, [{dataset.n_items}, {entry.encoder.width}], finite")
    return good


def _row_of(path: Path, row: int) -> str:
    return f"{path}: row {row + 1}"
