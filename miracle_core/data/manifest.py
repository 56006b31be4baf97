"""The manifest of a Dataset folder: sources, settings, counts, files, encoders."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from miracle_core.errors import InputError
from miracle_core.files import read_json

FORMAT = 2
READ_FORMATS = (1, 2)  # 1 had neither attributes nor data sets without text
FILES = ("items.parquet", "users.parquet", "sequences.npy", "offsets.npy")  # but the features
ATTRIBUTES = "attributes.parquet"  # where items have any
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
        """Whether both give a text the same vector: one model may have two names."""
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
        name: the Dataset's name (the source's own unless the person gave another; never the
            folder's, so that the same source gives the same bytes anywhere).
        sources: the raw files.
        settings: every option that decided the result.
        counts: users, items, interactions, repeats and exact duplicates among them, what each
            step of preparation left (``steps``), and what it left out (``lost``).
        split: the protocol of the split: ``leave-one-out`` or ``temporal``.
        files: SHA-256 of each file except the features.
        features: one entry an encoder.
        text: whether items are described in words; False: titles are ids, and texts are empty.
        split_hash: the fingerprint when the Dataset was written; empty in older ones.
    """

    format: Literal[1, 2]
    name: str
    sources: list[SourceFile]
    settings: dict[str, Any]
    counts: dict[str, Any]
    split: Literal["leave-one-out", "temporal"]
    files: dict[str, str]
    features: dict[str, FeatureSet] = {}
    text: bool = True
    split_hash: str = ""

    @property
    def fingerprint(self) -> str:
        """One hash for the catalogue, the sequences and the split: what a run was trained on."""
        parts = [self.split, *(f"{name} {digest}" for name, digest in sorted(self.files.items()))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def feature_file(encoder: str) -> str:
    """The file name for an encoder's features; no two encoders share one, and it has no folder.

    All characters except letters, digits and ``._-~`` are percent-encoded. A name that gets too
    long for a file is replaced by its hash.
    """
    quoted = quote(encoder, safe="")
    return f"features.{quoted if len(quoted) <= _LONGEST_NAME else hash_of_name(encoder)}.npy"


def hash_of_name(name: str) -> str:
    """A name of any length and any characters as 64 hexadecimal digits."""
    return hashlib.sha256(name.encode()).hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Read and check a ``manifest.json``.

    Raises:
        InputError: it is missing, of another format or incomplete, or names a file elsewhere.
    """
    value = read_json(path)
    if isinstance(value, dict) and value.get("format") not in READ_FORMATS:
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
    named = set(manifest.files) - {ATTRIBUTES}
    if named != expected or not all(type(n) is int and n >= 0 for n in counts):
        raise InputError(
            "does not name the files of a Dataset and how much is in them",
            where=str(path),
            remedy="preprocess the data again",
        )
    return manifest
