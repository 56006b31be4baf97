"""Whether a Dataset folder is still what was written, and holds together."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

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
    if dataset.manifest.split == "temporal":
        with stage(progress, "checking that nothing looks ahead"):
            good.append(_nothing_looks_ahead(dataset))
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


def _nothing_looks_ahead(dataset: Dataset) -> str:
    """Prove a temporal split from the times of all its interactions.

    Raises:
        InputError: an interaction that is in another part than its time says, a user's
            interactions that are out of order, or more than one test item of a user.
    """
    times, cuts = dataset.times(), dataset.cuts
    settings = dataset.manifest.settings
    position = np.arange(dataset.n_interactions)
    owner = np.repeat(np.arange(dataset.n_users), np.diff(dataset.offsets))
    part = (position >= cuts[owner, 0]).astype(int) + (position >= cuts[owner, 1])
    due = (times >= settings["valid_from"]).astype(int) + (times >= settings["test_from"])
    faults = {
        "lies in another part than its time says": part != due,
        "is earlier than the one before it": np.append(
            False, (np.diff(times) < 0) & (owner[1:] == owner[:-1])
        ),
        "is a second test item of its user": (part == 2) & (position > cuts[owner, 1]),
    }
    for what, wrong in faults.items():
        if wrong.any():
            raise InputError(
                f"interaction {int(wrong.argmax())} {what}",
                where=str(dataset.folder / "times.npy"),
                remedy="preprocess the data again",
            )
    ends = [times[part == number].max(initial=times.min()) for number in (0, 1)]
    return (
        f"temporal split: training ends at {ends[0]}, before {settings['valid_from']}; validation "
        f"at {ends[1]}, before {settings['test_from']}: nothing looks ahead"
    )


def _row_of(path: Path, row: int) -> str:
    return f"{path}: row {row + 1}"
