"""Whether a Dataset folder is still what was written, and is consistent.

Hashes find files that were damaged. If somebody changed a file and its hash, too, this is found as
far as the files then contradict each other: counts are counted again, and settings that can be seen
in the sequences are checked there.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from miracle_core.data.dataset import Dataset
from miracle_core.data.filters import count_duplicates
from miracle_core.data.interactions import check_unique
from miracle_core.errors import InputError
from miracle_core.files import sha256_file
from miracle_core.progress import SILENT, Progress, stage

_A = {"user": "a user", "item": "an item"}


def verify(folder: str | Path, progress: Progress = SILENT) -> list[str]:
    """Check every file's hash, the arrays against the manifest, the ids, and all text features.

    Args:
        folder: a Dataset folder.
        progress: shows each check.

    Returns:
        What was checked and is right, a line each.

    Raises:
        InputError: at the first thing that is wrong.
    """
    with stage(progress, "checking files and arrays"):
        dataset = Dataset.open(folder, verify=True)
    good = [f"{name}: as written" for name in sorted(dataset.manifest.files)]
    good.append(
        f"{dataset.n_users} users, {dataset.n_items} items, {dataset.n_interactions} interactions: "
        "the arrays fit the manifest"
    )
    good.append(_split_hash(dataset))
    for table, column, kind in (
        (dataset.items, "item_id", "item"),
        (dataset.users, "user_id", "user"),
    ):
        path = dataset.folder / f"{kind}s.parquet"
        check_unique(table[column], kind, partial(_row_of, path))
        good.append(f"{path.name}: every {column} once")
    with stage(progress, "counting again"):
        good.append(_counts(dataset))
        good += _settings(dataset)
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


def _contradicts(dataset: Dataset, what: str) -> InputError:
    return InputError(
        what, where=str(dataset.folder / "manifest.json"), remedy="preprocess the data again"
    )


def _split_hash(dataset: Dataset) -> str:
    """Check that the hashes of the files and the split were written together.

    Raises:
        InputError: they were not.
    """
    manifest = dataset.manifest
    if manifest.split_hash and manifest.split_hash != manifest.fingerprint:
        raise _contradicts(
            dataset, "its split hash is not that of its files: hashes in it were changed"
        )
    return f"split hash: {manifest.fingerprint}"


def _counts(dataset: Dataset) -> str:
    """Check the counts of the manifest against the sequences.

    Raises:
        InputError: the repeats, the duplicates (with a temporal split, which keeps the times) or
            what the last step left are other numbers.
    """
    counts = dataset.manifest.counts
    owners = np.repeat(np.arange(dataset.n_users), np.diff(dataset.offsets))
    pairs = pl.Series(owners * dataset.n_items + dataset.sequences)
    repeats = dataset.n_interactions - pairs.n_unique()
    if counts.get("repeats", repeats) != repeats:
        raise _contradicts(
            dataset, f"says {counts['repeats']} repeated interactions, but there are {repeats}"
        )
    said = counts.get("duplicates")
    if said is not None and dataset.manifest.split == "temporal":
        found = count_duplicates(pairs, dataset.times())
        if said != found:
            raise _contradicts(dataset, f"says {said} exact duplicates, but there are {found}")
    left = (dataset.n_users, dataset.n_items, dataset.n_interactions)
    for step in counts.get("steps", [])[-1:]:
        said = tuple(step.get(name) for name in ("users", "items", "interactions"))
        if said != left:
            raise _contradicts(
                dataset, f"says that its last step left {said}, but there are {left}"
            )
    return f"{repeats} repeated interactions, and what the last step left: as the manifest says"


def _settings(dataset: Dataset) -> list[str]:
    """Check cores and lengths; with a temporal split those of the training part.

    Raises:
        InputError: a user or an item with too few interactions, or a user with too many.
    """
    settings = dataset.manifest.settings
    if dataset.manifest.split == "temporal":
        lengths, taken = dataset.cuts[:, 0] - dataset.offsets[:-1], dataset.training_counts()
        taken = taken[taken > 0]  # items that are new in a later part don't count
    else:
        lengths = np.diff(dataset.offsets)
        taken = np.bincount(dataset.sequences, minlength=dataset.n_items)
        if settings.get("keep_unsold"):
            taken = taken[taken > 0]  # unsold items stay by that setting
    good = []
    for name, kind, found, above in (
        ("user_core", "user", lengths, False),
        ("item_core", "item", taken, False),
        ("max_length", "user", lengths, True),
    ):
        bound = settings.get(name)
        if type(bound) is not int:
            continue
        wrong = found > bound if above else found < bound
        if wrong.any():
            number = int(found[wrong.argmax()])
            raise _contradicts(
                dataset, f"says {name} {bound}, but {_A[kind]} has {number} interactions"
            )
        good.append(f"{name} {bound}: kept by every {kind}")
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
