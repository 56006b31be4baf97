"""A Dataset folder: what is on disk, opened for reading (design, section 2).

    manifest.json          sources with hashes, settings, counts, files with hashes, encoders
    items.parquet          item_id, title, text, domain; the row number is the item's index, from 0
    users.parquet          user_id; the row number is the user's index, from 0
    sequences.npy          int32 [interactions], every user's items in time order, end to end
    offsets.npy            int64 [users + 1]; sequences[offsets[u]:offsets[u + 1]] are user u's
    cuts.npy               a temporal split: int64 [users, 2], where validation and test begin
    times.npy              a temporal split: int64 or float64 [interactions], when they happened
    attributes.parquet     where items have any: item, attribute, value
    features.<encoder>.npy float16 or float32 [items, width], one text vector an item

Index 0 is a real item: padding never appears here. Equal input gives equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.data.attributes import SCHEMA
from miracle_core.data.examples import (
    SPLITS,
    Examples,
    Split,
    leave_one_out,
    split_examples,
    windows,
)
from miracle_core.data.manifest import (
    ATTRIBUTES,
    EncoderIdentity,
    FeatureSet,
    Manifest,
    SourceFile,
    read_manifest,
)
from miracle_core.data.storage import check_features, load_array, read_parquet
from miracle_core.errors import InputError, command
from miracle_core.files import restore, sha256_file
from miracle_core.paths import as_path
from miracle_core.progress import SILENT, Progress

if TYPE_CHECKING:
    import pandas as pd

    from miracle_core.data.settings import PrepareSettings

# The parts of a Dataset have modules of their own; other code needs to import only this one.
__all__ = [
    "ITEM_COLUMNS",
    "SPLITS",
    "Dataset",
    "EncoderIdentity",
    "Examples",
    "FeatureSet",
    "Manifest",
    "SourceFile",
    "Split",
]

ITEM_COLUMNS = ("item_id", "title", "text", "domain")


class Dataset:
    """A Dataset folder, opened. Arrays are memory-mapped; tables are read when first asked for.

    Attributes:
        folder: where it lies.
        manifest: its manifest.
        sequences: int32 [interactions].
        offsets: int64 [users + 1].
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.sequences: npt.NDArray[np.int32] = load_array(folder / "sequences.npy", 1, "<i4")
        self.offsets: npt.NDArray[np.int64] = load_array(folder / "offsets.npy", 1, "<i8")

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = True) -> Dataset:
        """Open a Dataset folder.

        Args:
            folder: the folder that ``miracle preprocess`` wrote.
            verify: compare every file except the features with its hash in the manifest.

        Raises:
            InputError: no such folder, no Dataset in it, or a file that is not what was written.
        """
        folder = as_path(folder)
        manifest_path = folder / "manifest.json"
        if not manifest_path.is_file():
            restore(folder)
        if not manifest_path.is_file():
            raise InputError(
                "is not a Dataset folder (it has no manifest.json)",
                where=str(folder),
                remedy="make one with: miracle preprocess SOURCE --format FORMAT --out DIR",
            )
        manifest = read_manifest(manifest_path)
        for name, digest in manifest.files.items():
            path = folder / name
            if not path.is_file():
                raise InputError("is missing", where=str(path), remedy="preprocess the data again")
            if verify and sha256_file(path) != digest:
                raise InputError(
                    "has changed since it was written (its hash differs from the manifest's)",
                    where=str(path),
                    remedy="preprocess the data again",
                )
        dataset = cls(folder, manifest)
        dataset._check_arrays()
        return dataset

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        out: str | Path,
        *,
        user: str = "user_id",
        item: str = "item_id",
        time: str | None = None,
        title: str | None = None,
        text: str | Sequence[str] = (),
        attributes: str | Sequence[str] = (),
        rating: str | None = None,
        items: Any = None,
        no_text: bool = False,
        name: str | None = None,
        on_error: Literal["stop", "skip"] = "stop",
        settings: PrepareSettings | None = None,
        progress: Progress = SILENT,
    ) -> Dataset:
        """Make a Dataset folder from a table with a row an interaction, with the readers' checks.

        Equal tables give equal bytes, whether of pandas, polars or pyarrow.

        Args:
            frame: a pandas or polars DataFrame, or a pyarrow Table.
            out: the folder to write; a Dataset there is replaced.
            user: the column of user ids.
            item: the column of item ids, in both tables.
            time: the column that orders a user's interactions; None keeps the order of the rows.
            title: the column of item titles; None takes ``title`` where there is one.
            text: more columns whose text describes an item.
            attributes: columns with attributes of an item, such as its brand.
            rating: the column of ratings, for ``settings.min_rating``.
            items: another table with a row an item; None takes the text from ``frame``.
            no_text: items have ids only, for systems that read no text.
            name: the Dataset's name; None is ``frame``.
            on_error: ``stop`` at the first row that can't be used, or ``skip`` and count them.
            settings: how it is filtered and split; None takes the defaults, with a k-core of 5.
            progress: shows each step.

        Raises:
            InputError: no table, a missing column, or a row that can't be used (the message has its
                number, from 1); nothing is left after filtering; or ``out`` holds something else.
        """
        from miracle_core.data.frames import dataset_from_frame

        return dataset_from_frame(
            frame,
            out,
            user=user,
            item=item,
            time=time,
            title=title,
            text=text,
            attributes=attributes,
            rating=rating,
            items=items,
            no_text=no_text,
            name=name,
            on_error=on_error,
            settings=settings,
            progress=progress,
        )

    def to_frame(self) -> pd.DataFrame:
        """The interactions as a pandas DataFrame, user by user, each one's oldest first.

        Columns: ``user_id``, ``item_id``, ``time`` where times are kept (a temporal split; numbers
        as in :meth:`times`), and ``split``: the part ``train``, ``valid`` or ``test``. Of a
        temporal split's valid and test parts a user's first item is the one that is predicted.
        """
        from miracle_core.data.frames import interactions_frame

        return interactions_frame(self)

    def items_frame(self) -> pd.DataFrame:
        """The catalogue as a pandas DataFrame: item_id, title, text, domain; row = item index."""
        return self.items.to_pandas()

    def _repr_html_(self) -> str:
        from miracle_core.data.frames import dataset_html

        return dataset_html(self)

    def _check_arrays(self) -> None:
        counts = self.manifest.counts
        good = (
            len(self.offsets) == counts["users"] + 1
            and len(self.sequences) == counts["interactions"]
            and self.offsets[0] == 0
            and self.offsets[-1] == len(self.sequences)
            and bool(np.all(np.diff(self.offsets) >= 0))
        )
        if good and len(self.sequences):
            low, high = int(self.sequences.min()), int(self.sequences.max())
            good = low >= 0 and high < self.n_items
        if not good:
            raise InputError(
                "its arrays don't fit its manifest",
                where=str(self.folder),
                remedy="preprocess the data again",
            )

    @property
    def name(self) -> str:
        """What the Dataset is called."""
        return self.manifest.name

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    @property
    def n_items(self) -> int:
        """Number of items."""
        return int(self.manifest.counts["items"])

    @property
    def n_interactions(self) -> int:
        """Number of interactions."""
        return len(self.sequences)

    @cached_property
    def items(self) -> pl.DataFrame:
        """The catalogue: item_id, title, text, domain; row number = item index."""
        table = read_parquet(self.folder / "items.parquet")
        if table.columns != list(ITEM_COLUMNS) or table.height != self.n_items:
            raise InputError("does not fit the manifest", where=str(self.folder / "items.parquet"))
        return table

    @cached_property
    def attributes(self) -> pl.DataFrame:
        """The attributes of items, in item order: item (index), attribute, value."""
        if ATTRIBUTES not in self.manifest.files:
            return pl.DataFrame(schema=SCHEMA)
        path = self.folder / ATTRIBUTES
        table = read_parquet(path)
        good = dict(table.schema) == SCHEMA and table["item"].is_sorted()
        if not good or not table["item"].is_between(0, self.n_items - 1).all():
            raise InputError("does not fit the manifest", where=str(path))
        return table

    @cached_property
    def users(self) -> pl.DataFrame:
        """The users: user_id; row number = user index."""
        table = read_parquet(self.folder / "users.parquet")
        if "user_id" not in table.columns or table.height != self.n_users:
            raise InputError("does not fit the manifest", where=str(self.folder / "users.parquet"))
        return table

    @cached_property
    def cuts(self) -> npt.NDArray[np.int64]:
        """Where each user's validation and test parts begin, int64 [users, 2], as positions.

        ``sequences[offsets[u]:cuts[u, 0]]`` is trained on; ``sequences[offsets[u]:cuts[u, 1]]`` is
        all that may be known of the user when the test item is predicted.

        Raises:
            InputError: the file of a temporal split does not fit the sequences.
        """
        starts, ends = self.offsets[:-1], self.offsets[1:]
        if self.manifest.split == "temporal":
            path = self.folder / "cuts.npy"
            cuts: npt.NDArray[np.int64] = load_array(path, 2, "<i8")
            shape = cuts.shape == (self.n_users, 2)
            if not shape or bool(
                np.any((starts > cuts[:, 0]) | (cuts[:, 0] > cuts[:, 1]) | (cuts[:, 1] > ends))
            ):
                raise InputError(
                    "does not fit the sequences",
                    where=str(path),
                    remedy="preprocess the data again",
                )
            return cuts
        return leave_one_out(self.offsets)

    def times(self) -> npt.NDArray[Any]:
        """When each interaction happened, int64 or float64 [interactions]; temporal splits only.

        Raises:
            InputError: the split is another one, or the file doesn't fit.
        """
        path = self.folder / "times.npy"
        if self.manifest.split != "temporal":
            raise InputError("has no times", where=str(self.folder))
        times = load_array(path, 1, "<i8", "<f8")
        if len(times) != self.n_interactions:
            raise InputError("does not fit the sequences", where=str(path))
        return times

    def sequence(self, user: int) -> npt.NDArray[np.int32]:
        """All items of one user in time order, int32 [length]."""
        return self.sequences[self.offsets[user] : self.offsets[user + 1]]

    def examples(self, split: Split) -> Examples:
        """The examples of one part of the split.

        Leave-one-out: a user's last item is the test target, the one before it the validation
        target. A user with fewer than three items is never evaluated.

        Temporal: a user's first item of the test part is the test target, the first one of the
        validation part the validation target; a user may lack either.

        With both splits every item of the training part except the first is a training target, with
        all that came before it as its history.
        """
        return split_examples(self.offsets, self.cuts, split)

    def windows(self, length: int | None) -> Examples:
        """The training part in windows, for systems that learn from every item of a sequence.

        Args:
            length: the most items of a window's history; None for whole sequences.
        """
        return windows(self.offsets, self.cuts, length)

    def require_examples(self, *splits: Split) -> None:
        """Refuse a Dataset with nothing in a part of its split.

        Raises:
            InputError: naming the first empty part.
        """
        for split in splits:
            if not len(self.examples(split)):
                raise InputError(
                    f"has no example in its {split} part: its users have too few interactions",
                    where=str(self.folder),
                    remedy="preprocess it to keep longer histories, or split it otherwise",
                )

    def training_counts(self) -> npt.NDArray[np.int64]:
        """How often each item occurs in the training part, int64 [items] (popularity)."""
        marks = np.zeros(self.n_interactions + 1, dtype=np.int64)
        np.add.at(marks, self.offsets[:-1], 1)
        np.add.at(marks, self.cuts[:, 0], -1)
        in_train = np.cumsum(marks)[:-1] > 0
        return np.bincount(self.sequences[in_train], minlength=self.n_items)

    def feature_set(self, encoder: str | None = None) -> FeatureSet:
        """The manifest's entry of one encoder's features.

        Args:
            encoder: the encoder's name; None takes the only one there is.

        Raises:
            InputError: no such features, or several and none named.
        """
        have = self.manifest.features
        names = ", ".join(sorted(have)) or "none"
        if encoder is None:
            if len(have) == 1:
                return next(iter(have.values()))
            raise InputError(
                "has no text features" if not have else f"has several text features: {names}",
                where=str(self.folder),
                remedy=(
                    "make some with: "
                    + command("miracle", "encode", self.folder, "--encoder", "minilm")
                    if not have
                    else "name one with --encoder"
                ),
            )
        if encoder not in have:
            raise InputError(
                f"has no text features of encoder {encoder!r} (it has: {names})",
                where=str(self.folder),
                remedy="make them with: "
                + command("miracle", "encode", self.folder, "--encoder", encoder),
            )
        return have[encoder]

    def features(
        self, encoder: str | None = None, *, verify: bool = False
    ) -> npt.NDArray[np.floating[Any]]:
        """One text vector an item, float16 or float32 [items, width], memory-mapped.

        Args:
            encoder: the encoder's name; None takes the only one there is.
            verify: compare the file with its hash in the manifest, too.

        Raises:
            InputError: no such features, a wrong shape or type, numbers that are not finite, or a
                file that is not what was written.
        """
        entry = self.feature_set(encoder)
        path = self.folder / entry.file
        array = load_array(path, 2, "<f2" if entry.dtype == "float16" else "<f4")
        check_features(array, self.n_items, entry.encoder.width, where=str(path))
        if verify and sha256_file(path) != entry.sha256:
            raise InputError(
                "has changed since it was written (its hash differs from the manifest's)",
                where=str(path),
                remedy="encode the items again",
            )
        return array
