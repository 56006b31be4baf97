"""Writing a Dataset folder: whole or not at all, and equal input as equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.data.attributes import in_catalogue
from miracle_core.data.dataset import ITEM_COLUMNS, Dataset
from miracle_core.data.manifest import (
    ATTRIBUTES,
    FILES,
    FORMAT,
    TEMPORAL_FILES,
    EncoderIdentity,
    FeatureSet,
    Manifest,
    SourceFile,
    feature_file,
    hash_of_name,
    read_manifest,
)
from miracle_core.data.storage import check_features, write_parquet
from miracle_core.files import replacing, replacing_folder, sha256_file, write_json
from miracle_core.locks import one_writer
from miracle_core.paths import as_path


def write_dataset(
    folder: str | Path,
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
    text: bool = True,
    attributes: pl.DataFrame | None = None,
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
        counts: what each step of preparation left; users, items and interactions are added here.
        split: the protocol of the split.
        cuts: for a temporal split: int64 [users, 2], where validation and test begin.
        times: for a temporal split: int64 or float64 [interactions].
        text: whether items are described in words; False: they have ids only.
        attributes: item_id, attribute, value of items, in or out of the catalogue; None or empty
            writes no file.
    """
    counts = {
        **counts,
        "users": len(user_ids),
        "items": items.height,
        "interactions": len(sequences),
    }
    arrays = [each for each in (sequences, offsets, cuts, times) if each is not None]
    needed = int(items.estimated_size()) + sum(array.nbytes for array in arrays)
    with replacing_folder(folder, needed=needed) as beside:
        write_parquet(beside / "items.parquet", items.select(ITEM_COLUMNS))
        write_parquet(
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
        kept = None if attributes is None else in_catalogue(attributes, items["item_id"])
        if kept is not None and kept.height:
            write_parquet(beside / ATTRIBUTES, kept)
            names = (*names, ATTRIBUTES)
        manifest = Manifest(
            format=FORMAT,
            name=name,
            sources=list(sources),
            settings=dict(settings),
            counts=counts,
            split=split,
            text=text,
            files={file: sha256_file(beside / file) for file in names},
        )
        manifest = manifest.model_copy(update={"split_hash": manifest.fingerprint})
        write_json(beside / "manifest.json", manifest.model_dump(mode="json"))
    return Dataset.open(folder, verify=False)


def write_features(
    folder: str | Path, array: npt.NDArray[np.floating[Any]], encoder: EncoderIdentity
) -> Dataset:
    """Add (or replace) one encoder's features in a Dataset folder, and open it again.

    The file is written first and the manifest after it, each beside and renamed.

    Raises:
        InputError: the array does not fit the Dataset or is not finite, or another process is
            writing there.
    """
    folder = as_path(folder)
    with one_writer(folder):
        return _write_features(folder, array, encoder)


def _write_features(
    folder: Path, array: npt.NDArray[np.floating[Any]], encoder: EncoderIdentity
) -> Dataset:
    manifest = read_manifest(folder / "manifest.json")
    file = feature_file(encoder.name)
    others = {entry.file for name, entry in manifest.features.items() if name != encoder.name}
    if file in others:  # written before file names told all encoders apart
        file = f"features.{hash_of_name(encoder.name)}.npy"
    check_features(array, int(manifest.counts["items"]), encoder.width, where=file)
    dtype: Literal["float16", "float32"] = "float16" if array.dtype == np.float16 else "float32"
    content = np.ascontiguousarray(array, dtype="<f2" if dtype == "float16" else "<f4")
    with replacing(folder / file, needed=content.nbytes) as beside, beside.open("wb") as out:
        np.save(out, content)
    entry = FeatureSet(file=file, dtype=dtype, sha256=sha256_file(folder / file), encoder=encoder)
    features = {**manifest.features, encoder.name: entry}
    updated = manifest.model_copy(update={"features": dict(sorted(features.items()))})
    write_json(folder / "manifest.json", updated.model_dump(mode="json"))
    if encoder.name in manifest.features:
        before = manifest.features[encoder.name].file
        if before not in {file, *others}:
            (folder / before).unlink(missing_ok=True)
    return Dataset.open(folder, verify=False)
