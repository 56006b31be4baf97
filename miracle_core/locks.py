"""One writer at a time for a run folder, a Dataset folder or a download.

The lock is the operating system's, on a hidden file beside what is written (``.NAME.lock``). So
replacing the folder does not touch it, and the lock ends with the process, however that ends. The
file names its holder and is removed with the lock. A file that a kill left behind locks nothing.
Readers need no lock: what they open is never changed in place.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from miracle_core.errors import InputError
from miracle_core.paths import as_path

# How long to wait for a process that is just ending.
_SECONDS = 0.5


@contextmanager
def one_writer(path: str | Path) -> Iterator[None]:
    """Be the only process that writes to a file or folder; the same thread may nest this.

    Args:
        path: what is written; it need not exist.

    Raises:
        InputError: another process (or thread) is writing there; the message names it.
    """
    path = as_path(path)
    file = _lock_file(path)
    made = _make_parents(file.parent)
    lock = FileLock(file, is_singleton=True)
    try:
        lock.acquire(timeout=_SECONDS, poll_interval=0.05)
    except Timeout as error:
        raise _taken(path, file) from error
    try:
        if lock.lock_counter == 1:
            # Written in place, since the lock is on this file. On a full disk no holder is named.
            with suppress(OSError):
                file.write_text(json.dumps(_who()), encoding="utf-8")
        yield
    finally:
        if lock.lock_counter == 1:
            # While it is still held, so nobody else's file can be removed.
            with suppress(OSError):
                file.unlink()
        lock.release()
        for folder in made:
            with suppress(OSError):  # not empty, as mostly
                folder.rmdir()


def _lock_file(path: Path) -> Path:
    """The lock file beside the path, by its real name; or inside, if the parent can't be written.

    A process that can't write beside a folder can't replace it either, so a lock inside is safe.
    """
    real = path.resolve()
    if real.is_dir() and not os.access(real.parent, os.W_OK):
        return real / ".lock"
    return real.with_name(f".{real.name}.lock")


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder with its parents; returns those that were missing, the innermost first."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _who() -> dict[str, Any]:
    called = Path(sys.argv[0] if sys.argv else "")
    program = [called.name or "python"]
    if called.name == "__main__.py":
        program = ["python", "-m", called.parent.name]
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": shlex.join([*program, *sys.argv[1:]]),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _taken(path: Path, file: Path) -> InputError:
    told = "another process"
    try:
        who = json.loads(file.read_text(encoding="utf-8"))
        told += f" ({who['command']}, process {who['pid']} on {who['host']} since {who['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        pass  # it is just beginning or ending
    return InputError(
        f"{told} is writing here",
        where=str(path),
        remedy="wait until it has ended, or stop it, or name another place",
    )
