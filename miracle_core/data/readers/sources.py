"""The manifest's entries of the raw files."""

from __future__ import annotations

from collections.abc import Iterable

from miracle_core.data.dataset import SourceFile
from miracle_core.data.readers.opening import RawFile
from miracle_core.files import sha256_file
from miracle_core.progress import Progress, stage


def describe_sources(files: Iterable[RawFile], progress: Progress) -> list[SourceFile]:
    """Name (without its folder), size and SHA-256 of each file on disk, in the order given.

    An archive is named once, whatever was read of it.
    """
    paths = list(dict.fromkeys(raw.path for raw in files))
    sizes = [path.stat().st_size for path in paths]
    with stage(progress, "hashing the sources", sum(sizes), "bytes"):
        return [
            SourceFile(file=path.name, bytes=size, sha256=sha256_file(path, progress.advance))
            for path, size in zip(paths, sizes, strict=True)
        ]
