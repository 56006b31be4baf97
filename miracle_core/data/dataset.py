"""A Dataset folder: what is on disk, opened for reading (design, section 2).

    manifest.json          sources with hashes, settings, counts, files with hashes, encoders
    items.parquet          item_id, title, text, domain; the row number is the item's index, from 0
    users.parquet          user_id; the row number is the user's index, from 0
    sequences.npy          int32 [interactions], every user's items in time order, end to end
    offsets.npy            int64 [users + 1]; sequences[offsets[u]:offsets[u + 1]] are user u's
    cuts.npy               a temporal split: int64 [users, 2], where validation and test begin
    times.npy              a temporal split: int64 or float64 [interactions], when they happened
    features.<encoder>.npy float16 or float32 [items, width], one text vector an item

Index 0 is a real item: padding never appears here. Equal input gives equal bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from miracle_core.errors import InputError
from miracle_core.files import read_json, replacing, replacing_folder, sha256_file, write_json

FORMAT = 1
Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
ITEM_COLUMNS = ("item_id", "title", "text", "domain")
FILES = ("items.parquet", "users.parquet", "sequences.npy", "offsets.npy")  # but the features
TEMPORAL_FILES = ("cuts.npy", "times.npy")  # more of them, for a temporal split
_LONGEST_NAME = 200  # bytes; file systems take 255 with all that stands around it


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceFile(_Strict):
    """A raw file that went into a Dataset: its name (no folder), size in bytes and SHA-256."""

    file: str
    bytes: int
    sha256: str


class EncoderIdentity(_Strict):
    """All that decides what a text's vector is.

    Attributes:
        name: what the person typed: ``minilm``, ``hashing``, a Hugging Face id or a folder's name.
        revision: a hash of the weights (or of the algorithm's version, for ``hashing``).
        pooling: ``cls``, ``mean`` or ``none``.
        max_length: tokens read of each text (0: all).
        width: numbers a vector has.
    """

    name: str
    revision: str
    pooling: str
    max_length: int
    width: int

    def same_vectors(self, other: EncoderIdentity) -> bool:
        """Whether both give a text the same vector: one model may be had under two names."""
        return self.model_dump(exclude={"name"}) == other.model_dump(exclude={"name"})

    def describe(self) -> str:
        """All of it in one phrase, for an error."""
        return (
            f"{self.name!r} ({self.width} wide, {self.pooling} pooling, "
            f"{self.max_length or 'all'} tokens, revision {self.revision[:12]})"
        )


class FeatureSet(_Strict):
    """One ``features.<encoder>.npy`` of a Dataset and the encoder that made it."""

    file: str
    dtype: Literal["float16", "float32"]
    sha256: str
    encoder: EncoderIdentity


class Manifest(_Strict):
    """The contents of ``manifest.json``; no time, path or machine in it, so bytes repeat.

    Attributes:
        format: version of the folder's format.
        name: what the Dataset is called (the source's own name unless the person gave another;
            never the folder's, so that the same source gives the same bytes anywhere).
        sources: the raw files.
        settings: every option that decided the result.
        counts: users, items, interactions, and what each step of preparation left.
        split: the protocol of the split: ``leave-one-out`` or ``temporal``.
        files: SHA-256 of each file but the features.
        features: one entry an encoder.
    """

    format: Literal[1]
    name: str
    sources: list[SourceFile]
    settings: dict[str, Any]
    counts: dict[str, Any]
    split: Literal["leave-one-out", "temporal"]
    files: dict[str, str]
    features: dict[str, FeatureSet] = {}

    @property
    def fingerprint(self) -> str:
        """One hash for the catalogue, the sequences and the split: what a run was trained on."""
        parts = [self.split, *(f"{name} {digest}" for name, digest in sorted(self.files.items()))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Examples:
    """Histories with the item that came next, as positions in a Dataset's sequences.

    Example i is: given ``sequences[offsets[users[i]] : positions[i]]``, predict
    ``sequences[positions[i]]``.

    Attributes:
        users: int64 [examples], user indices.
        positions: int64 [examples], absolute positions of the targets in ``sequences``.
    """

    users: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)


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
        self.sequences: npt.NDArray[np.int32] = _load_array(folder / "sequences.npy", 1, "<i4")
        self.offsets: npt.NDArray[np.int64] = _load_array(folder / "offsets.npy", 1, "<i8")

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = True) -> Dataset:
        """Open a Dataset folder.

        Args:
            folder: the folder that ``miracle preprocess`` wrote.
            verify: compare every file but the features with its hash in the manifest.

        Raises:
            InputError: no such folder, no Dataset in it, or a file that is not what was written.
        """
        folder = Path(folder)
        manifest_path = folder / "manifest.json"
        if not manifest_path.is_file():
            raise InputError(
                "is not a Dataset folder (it has no manifest.json)",
                where=str(folder),
                remedy="make one with: miracle preprocess SOURCE --format FORMAT --out DIR",
            )
        manifest = _parse_manifest(manifest_path)
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
        table = _read_parquet(self.folder / "items.parquet")
        if table.columns != list(ITEM_COLUMNS) or table.height != self.n_items:
            raise InputError("does not fit the manifest", where=str(self.folder / "items.parquet"))
        return table

    @cached_property
    def users(self) -> pl.DataFrame:
        """The users: user_id; row number = user index."""
        table = _read_parquet(self.folder / "users.parquet")
        if "user_id" not in table.columns or table.height != self.n_users:
            raise InputError("does not fit the manifest", where=str(self.folder / "users.parquet"))
        return table

    @cached_property
    def cuts(self) -> npt.NDArray[np.int64]:
        """Where each user's validation and test parts begin, int64 [users, 2], as positions.

        ``sequences[offsets[u]:cuts[u, 0]]`` is trained on; ``sequences[offsets[u]:cuts[u, 1]]`` is
        all that may be known of the user when the test item is predicted.
        """
        starts, ends = self.offsets[:-1], self.offsets[1:]
        if self.manifest.split == "temporal":
            path = self.folder / "cuts.npy"
            cuts: npt.NDArray[np.int64] = _load_array(path, 2, "<i8")
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
        evaluated = (ends - starts >= 3)[:, None]
        return ends[:, None] - np.where(evaluated, np.array([2, 1]), 0)

    def times(self) -> npt.NDArray[Any]:
        """When each interaction happened, int64 or float64 [interactions]; temporal splits only.

        Raises:
            InputError: the split is another one, or the file doesn't fit.
        """
        path = self.folder / "times.npy"
        if self.manifest.split != "temporal":
            raise InputError("has no times", where=str(self.folder))
        times = _load_array(path, 1, "<i8", "<f8")
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

        Either way every item of the training part but the first is a training target, with all
        that came before it as its history.
        """
        starts, ends = self.offsets[:-1], self.offsets[1:]
        valid, test = self.cuts[:, 0], self.cuts[:, 1]
        if split == "test":
            users = np.flatnonzero((starts < test) & (test < ends))
            return Examples(users, test[users])
        if split == "valid":
            users = np.flatnonzero((starts < valid) & (valid < test))
            return Examples(users, valid[users])
        counts = np.maximum(valid - starts - 1, 0)
        users = np.repeat(np.arange(self.n_users), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return Examples(users, starts[users] + 1 + within)

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
        """What the manifest says of one encoder's features.

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
                    f"make some with: miracle encode {self.folder} --encoder minilm"
                    if not have
                    else "name one with --encoder"
                ),
            )
        if encoder not in have:
            raise InputError(
                f"has no text features of encoder {encoder!r} (it has: {names})",
                where=str(self.folder),
                remedy=f"make them with: miracle encode {self.folder} --encoder {encoder}",
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
        array = _load_array(path, 2, "<f2" if entry.dtype == "float16" else "<f4")
        check_features(array, self.n_items, entry.encoder.width, where=str(path))
        if verify and sha256_file(path) != entry.sha256:
            raise InputError(
                "has changed since it was written (its hash differs from the manifest's)",
                where=str(path),
                remedy="encode the items again",
            )
        return array


def check_features(
    array: npt.NDArray[np.floating[Any]], items: int, width: int, *, where: str
) -> None:
    """Refuse features of the wrong shape or with a number that is not finite.

    Raises:
        InputError: naming the file and the first bad row.
    """
    if array.shape != (items, width):
        raise InputError(
            f"has shape {list(array.shape)}, expected [{items}, {width}]",
            where=where,
            remedy="encode the items again",
        )
    for start in range(0, items, 65536):
        finite = np.isfinite(array[start : start + 65536]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise InputError(
                f"row {row} holds a number that is not finite (NaN or infinity)",
                where=where,
                remedy="encode the items again",
            )


def feature_file(encoder: str) -> str:
    """The file name for an encoder's features: no two encoders share one, none leaves the folder.

    All but letters, digits and ``._-~`` is percent-encoded; a name that gets too long for a file
    is replaced by its hash.
    """
    quoted = quote(encoder, safe="")
    return f"features.{quoted if len(quoted) <= _LONGEST_NAME else _hash_of(encoder)}.npy"


def _hash_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def write_dataset(
    folder: Path,
    *,
    name: str,
    items: pl.DataFrame,
    user_ids: Sequence[str] | pl.Series,
    sequences: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    sources: Sequence[SourceFile],
    settings: Mapping[str, Any],
    counts: Mapping[str, Any],
    split: Literal["leave-one-out", "temporal"] = "leave-one-out",
    cuts: npt.NDArray[np.int64] | None = None,
    times: npt.NDArray[Any] | None = None,
) -> Dataset:
    """Write a Dataset folder whole or not at all, and open it.

    Args:
        folder: where to; an existing Dataset there is replaced once the new one is whole.
        name: what the Dataset is called.
        items: the catalogue in index order, columns item_id, title, text, domain.
        user_ids: the users in index order.
        sequences: int32 [interactions].
        offsets: int64 [users + 1].
        sources: the raw files.
        settings: every option that decided the result.
        counts: what each step of preparation left; users, items, interactions are added.
        split: the protocol of the split.
        cuts: a temporal split: int64 [users, 2], where validation and test begin.
        times: a temporal split: [interactions].
    """
    counts = {
        **counts,
        "users": len(user_ids),
        "items": items.height,
        "interactions": len(sequences),
    }
    with replacing_folder(folder) as beside:
        _write_parquet(beside / "items.parquet", items.select(ITEM_COLUMNS))
        _write_parquet(
            beside / "users.parquet", pl.DataFrame({"user_id": user_ids}, {"user_id": pl.String})
        )
        np.save(beside / "sequences.npy", np.ascontiguousarray(sequences, dtype="<i4"))
        np.save(beside / "offsets.npy", np.ascontiguousarray(offsets, dtype="<i8"))
        names: tuple[str, ...] = FILES
        if cuts is not None and times is not None:
            np.save(beside / "cuts.npy", np.ascontiguousarray(cuts, dtype="<i8"))
            np.save(
                beside / "times.npy", np.ascontiguousarray(times, dtype=f"<{times.dtype.kind}8")
            )
            names = (*FILES, *TEMPORAL_FILES)
        manifest = Manifest(
            format=FORMAT,
            name=name,
            sources=list(sources),
            settings=dict(settings),
            counts=counts,
            split=split,
            files={file: sha256_file(beside / file) for file in names},
        )
        write_json(beside / "manifest.json", manifest.model_dump(mode="json"))
    return Dataset.open(folder, verify=False)


def write_features(
    folder: Path, array: npt.NDArray[np.floating[Any]], encoder: EncoderIdentity
) -> Dataset:
    """Add (or replace) one encoder's features in a Dataset folder, and open it again.

    The file is written first and the manifest after it, each beside and renamed.

    Raises:
        InputError: the array does not fit the Dataset or is not finite.
    """
    manifest = _parse_manifest(folder / "manifest.json")
    file = feature_file(encoder.name)
    others = {entry.file for name, entry in manifest.features.items() if name != encoder.name}
    if file in others:  # written before file names told all encoders apart
        file = f"features.{_hash_of(encoder.name)}.npy"
    check_features(array, int(manifest.counts["items"]), encoder.width, where=file)
    dtype: Literal["float16", "float32"] = "float16" if array.dtype == np.float16 else "float32"
    with replacing(folder / file) as beside, beside.open("wb") as out:
        np.save(out, np.ascontiguousarray(array, dtype="<f2" if dtype == "float16" else "<f4"))
    entry = FeatureSet(file=file, dtype=dtype, sha256=sha256_file(folder / file), encoder=encoder)
    features = {**manifest.features, encoder.name: entry}
    updated = manifest.model_copy(update={"features": dict(sorted(features.items()))})
    write_json(folder / "manifest.json", updated.model_dump(mode="json"))
    if encoder.name in manifest.features:
        before = manifest.features[encoder.name].file
        if before not in {file, *others}:
            (folder / before).unlink(missing_ok=True)
    return Dataset.open(folder, verify=False)


def _parse_manifest(path: Path) -> Manifest:
    value = read_json(path)
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise InputError(
            f"has format {value.get('format')!r}, this version reads format {FORMAT}",
            where=str(path),
            remedy="preprocess the data again with this version",
        )
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"is not a manifest: {place}: {first['msg']}",
            where=str(path),
            remedy="preprocess the data again",
        ) from error
    for name in (*manifest.files, *(entry.file for entry in manifest.features.values())):
        if Path(name).name != name:
            raise InputError(f"names a file outside its folder: {name!r}", where=str(path))
    counts = [manifest.counts.get(name) for name in ("users", "items", "interactions")]
    expected = {*FILES, *(TEMPORAL_FILES if manifest.split == "temporal" else ())}
    if set(manifest.files) != expected or not all(type(n) is int and n >= 0 for n in counts):
        raise InputError(
            "does not name the files of a Dataset and how much is in them",
            where=str(path),
            remedy="preprocess the data again",
        )
    return manifest


def _load_array(path: Path, dimensions: int, *dtypes: str) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", where=str(path)) from error
    except (ValueError, EOFError) as error:
        raise InputError(f"is not a plain NumPy array: {error}", where=str(path)) from error
    if array.ndim != dimensions or array.dtype not in map(np.dtype, dtypes):
        raise InputError(
            f"holds {array.dtype} with {array.ndim} dimensions, "
            f"expected {np.dtype(dtypes[0])} with {dimensions}",
            where=str(path),
        )
    return array


def _write_parquet(path: Path, table: pl.DataFrame) -> None:
    """Write with fixed settings and no file metadata of ours: equal tables give equal bytes."""
    arrow: pa.Table = table.to_arrow(compat_level=pl.CompatLevel.oldest())
    pq.write_table(arrow, path, compression="zstd", row_group_size=1 << 17)


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"can't be read as parquet: {error}", where=str(path)) from error
