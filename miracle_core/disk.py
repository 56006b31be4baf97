"""The error of a full disk: what was written, where, and how much room it takes."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from miracle_core.errors import MiracleError

_FULL = {getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG")}
# Some libraries drop the error's number but keep its words; NumPy says how much was written.
_SAID = re.compile(
    r"no space left on device|disk quota exceeded|file too large|os error (28|122|27)\b"
    r"|\d+ requested and \d+ written",
    re.IGNORECASE,
)
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


class DiskFullError(MiracleError):
    """There was no room for all that was to be written (exit code 1)."""


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that there is no room left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None and error.errno in _FULL:
            return True
        if isinstance(error, Exception) and _SAID.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def size_text(size: float) -> str:
    """A number of bytes as a person reads it: ``1.2 GB``."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 where there is nothing."""
    if path.is_dir():
        return sum(child.stat().st_size for child in path.rglob("*") if child.is_file())
    return path.stat().st_size if path.exists() else 0


def free(path: Path) -> int | None:
    """Bytes free where a path lies, or None where the system doesn't say."""
    for folder in (path, *path.absolute().parents):
        if folder.exists():
            try:
                return shutil.disk_usage(folder).free
            except OSError:
                return None
    return None


def full(path: Path, written: int, needed: int | None = None) -> DiskFullError:
    """The error of a full disk.

    Args:
        path: what was to be written.
        written: bytes that found room.
        needed: bytes that the whole takes, if known.
    """
    if needed:
        takes = f"takes about {size_text(needed)}, of which {size_text(written)} were written"
    else:
        takes = f"takes more than the {size_text(written)} that were written"
    room = free(path)
    left = "" if room is None else f"; {size_text(room)} are free now"
    return DiskFullError(
        f"the disk is full: {path.name} {takes}{left}",
        where=str(path),
        remedy="make room on that disk (or in the quota), then run the command again (a training "
        "that has begun goes on with --resume); what was there before is unchanged",
    )


@contextmanager
def explaining_full_disk(path: Path, beside: Path, needed: int | None = None) -> Iterator[None]:
    """Turn any library's error about a full disk into :func:`full`.

    Args:
        path: what is to be written.
        beside: where it is written until it is whole.
        needed: bytes that the whole takes, if known.

    Raises:
        MiracleError: the disk is full.
    """
    try:
        yield
    except DiskFullError as error:
        # A file in a temporary folder: name the folder that it is for, which the person knows.
        if beside not in Path(error.where or "").parents:
            raise
        raise full(path, size_of(beside), needed) from error
    except MiracleError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise full(path, size_of(beside), needed) from error
