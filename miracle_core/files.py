"""Writing whole or not at all: write to a file beside the old one, then rename it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson

from miracle_core.disk import explaining_full_disk
from miracle_core.errors import InputError
from miracle_core.exchange import exchange
from miracle_core.locks import one_writer
from miracle_core.paths import as_path

_CHUNK = 1 << 20
_WINDOWS = os.name == "nt"


def sha256_file(path: str | Path, advance: Callable[[int], None] | None = None) -> str:
    """The SHA-256 of a file's bytes, as hexadecimal.

    Args:
        path: the file.
        advance: called after each part with its number of bytes.
    """
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if advance is not None:
                advance(len(chunk))
    return digest.hexdigest()


def holds_something(path: Path) -> bool:
    """Whether a file is there, or a folder that is not empty."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def to_overwrite(path: Path, *, overwrite: bool) -> bool:
    """Whether something is there that a training is to replace.

    Raises:
        InputError: something is there, and ``overwrite`` was not said.
    """
    found = holds_something(path)
    if found and not overwrite:
        raise InputError(
            "already holds something",
            where=str(path),
            remedy="choose another --out, continue with --resume, or say --overwrite",
        )
    return found


def sync(path: Path) -> None:
    """Flush a file to the disk, so that a rename can't become durable before its content."""
    handle = os.open(path, os.O_RDWR if _WINDOWS else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk, where the system can (not on Windows)."""
    if _WINDOWS:
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no need
            raise
    finally:
        os.close(handle)


@contextmanager
def replacing(path: str | Path, *, needed: int | None = None) -> Iterator[Path]:
    """A path beside ``path`` to write to; it takes the place of ``path`` when the block ends well.

    After an exception, or a kill at any moment, ``path`` is what it was before. A link to a file
    stays, and what it leads to is replaced.

    Args:
        path: what to write.
        needed: bytes it will take, if known; named in the error if the disk is full.

    Raises:
        InputError: ``path`` is a device or a pipe, which a file would take the place of.
        MiracleError: the disk is full.
    """
    path = _file_to_replace(as_path(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _fresh(path, ".part")
    try:
        with explaining_full_disk(path, beside, needed):
            # Made here, with the mode that the system gives any new file.
            os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            mode = stat.S_IMODE(beside.stat().st_mode)
            yield beside
            # A library may have replaced the file by one that only its owner may read.
            if stat.S_IMODE(beside.stat().st_mode) != mode:
                beside.chmod(mode)
            sync(beside)
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _file_to_replace(path: Path) -> Path:
    """What a path leads to, if a file may take its place.

    Raises:
        InputError: it is a device or a pipe, such as ``/dev/null`` or ``/dev/stdout``.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError("is a device or a pipe", where=str(path), remedy="name a file")
    # Of a path without links nothing is changed, so that errors name it as it was given.
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all (UTF-8)."""
    content = text.encode()
    with replacing(path, needed=len(content)) as beside:
        beside.write_bytes(content)


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON whole or not at all, with sorted keys, so that equal values give equal bytes."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    content = orjson.dumps(value, option=options)
    with replacing(path, needed=len(content)) as beside:
        beside.write_bytes(content)


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, unreadable or no JSON.
    """
    try:
        return orjson.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror or error}", where=str(path)) from error
    except orjson.JSONDecodeError as error:
        raise InputError(
            f"is not valid JSON: {error.msg}", where=f"{path}:{error.lineno}:{error.colno}"
        ) from error


@contextmanager
def replacing_folder(path: str | Path, *, needed: int | None = None) -> Iterator[Path]:
    """A new folder beside ``path`` to fill; it replaces ``path`` when the block ends well.

    The two change places in one step where the system can do that (Linux, on most file systems).
    Elsewhere the old one is moved aside first, and moved back if the new one can't take its place.
    After a kill between the two steps :func:`restore` moves it back. No one else may write to
    ``path`` meanwhile. If ``path`` is a link to a folder, the folder behind it is replaced.

    Args:
        path: the folder.
        needed: bytes it will take, if known; named in the error if the disk is full.

    Raises:
        InputError: ``path`` is a file, or another process is writing there.
        MiracleError: the disk is full.
    """
    path = as_path(path).resolve()
    with one_writer(path):
        restore(path)
        if path.exists() and not path.is_dir():
            raise InputError("is not a folder", where=str(path), remedy="name another place")
        for left in _leftovers(path):  # of writers that were killed
            shutil.rmtree(left, ignore_errors=True)
        beside = _fresh(path, ".part")
        try:
            with explaining_full_disk(path, beside, needed):
                beside.mkdir()
                yield beside
                _sync_all(beside)
            _put(beside, path)
            sync_folder(path.parent)
        finally:
            # After an exchange this is the old folder. A reader on a network disk may still hold
            # its files there; then the next writer removes it.
            shutil.rmtree(beside, ignore_errors=True)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove unfinished files of writers that were killed; the caller must hold the folder's lock.

    Finished files have their final names, so nothing is lost.

    Args:
        folder: where to look, its subfolders included.
        name: only leftovers of this file, in ``folder`` itself; None for those of all files.
    """
    which = r".+" if name is None else re.escape(name)
    for left in folder.rglob(".*.part") if name is None else folder.glob(".*.part"):
        if re.fullmatch(rf"\.{which}\.[0-9a-z_]{{8}}\.part", left.name) and left.is_file():
            left.unlink(missing_ok=True)


def restore(path: str | Path) -> None:
    """Move back a folder that :func:`replacing_folder` had moved aside when it was killed."""
    path = as_path(path).resolve()
    if path.exists() or not _moved_aside(path):
        return
    with one_writer(path):
        for kept in _moved_aside(path):
            if not path.exists():
                kept.rename(path)
                sync_folder(path.parent)


def _put(beside: Path, path: Path) -> None:
    """Put the new folder in its place; the old one, if any, is then at ``beside`` or removed."""
    if not path.exists():
        beside.rename(path)
    elif not exchange(beside, path):
        old = _fresh(path, ".old")
        old.mkdir()
        kept = old / path.name
        try:
            path.rename(kept)
            beside.rename(path)
        except BaseException:
            if kept.exists() and not path.exists():
                kept.rename(path)
            with suppress(OSError):
                old.rmdir()
            raise
        shutil.rmtree(old, ignore_errors=True)


def _fresh(path: Path, suffix: str) -> Path:
    """A new hidden name beside a path."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{suffix}")


def _leftovers(path: Path) -> list[Path]:
    """Temporary folders beside a folder that its writers left."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-z_]{{8}}\.(part|old)")
    if not path.parent.is_dir():
        return []
    return sorted(p for p in path.parent.iterdir() if pattern.fullmatch(p.name) and p.is_dir())


def _moved_aside(path: Path) -> list[Path]:
    kept = [left / path.name for left in _leftovers(path) if left.suffix == ".old"]
    return [folder for folder in kept if folder.is_dir()]


def _sync_all(folder: Path) -> None:
    """Ask the disk to keep all that is in a folder."""
    for place, _, names in os.walk(folder):
        for name in names:
            sync(Path(place, name))
        sync_folder(Path(place))
