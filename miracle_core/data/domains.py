"""Several Datasets side by side, for pre-training: by reference, nothing is copied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from miracle_core.data.dataset import Dataset
from miracle_core.errors import InputError


def open_domains(folders: Sequence[str | Path]) -> list[Dataset]:
    """Open Datasets that are to be trained on together.

    Args:
        folders: their folders; users of different ones are different users.

    Returns:
        The Datasets, in the order given.

    Raises:
        InputError: none is given, one is there twice (under whatever name), or one can't be opened.
    """
    if not folders:
        raise InputError("no Dataset is given", remedy="name at least one")
    found: dict[str, Dataset] = {}
    for folder in folders:
        dataset = Dataset.open(folder)
        earlier = found.get(dataset.manifest.fingerprint)
        if earlier is not None:
            raise InputError(
                f"is the same data as {earlier.folder}",
                where=str(folder),
                remedy="name every Dataset once",
            )
        found[dataset.manifest.fingerprint] = dataset
    return list(found.values())
