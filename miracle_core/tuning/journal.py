"""The file of an Optuna study, safe with several processes and after kills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from filelock import FileLock

from miracle_core.errors import InputError

JOURNAL = "journal.log"
_NAME = "miracle tune"
_BLOCK = 1 << 12


def optuna_library() -> Any:
    """The module ``optuna``, quiet.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            "a search of settings needs optuna, which is not installed",
            remedy="install it with: pip install optuna (in a checkout, make install does)",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_journal(folder: Path) -> Any:
    """The Optuna study of a folder; it is made where there is none.

    Raises:
        InputError: the journal is damaged.
    """
    optuna = optuna_library()
    from optuna.storages.journal import JournalFileBackend

    path = folder / JOURNAL
    lock = JournalLock(path)
    # Remove a line that a kill cut off before the first reading: Optuna would call it damage.
    lock.acquire()
    lock.release()
    try:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        return optuna.create_study(
            storage=storage, study_name=_NAME, direction="maximize", load_if_exists=True
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(
            f"is damaged: {error}", where=str(path), remedy="tune again, in another --out"
        ) from error


class JournalLock:
    """One writer of a journal at a time, by a lock of the operating system.

    Optuna's own locks are files that a killed process leaves behind. This one ends with its
    process. Whoever gets it first removes a last line that a kill has cut off, so that no line is
    appended to it.

    Args:
        path: the journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))

    def acquire(self) -> bool:
        """Wait for it."""
        self._lock.acquire()
        remove_torn_end(self._path)
        return True

    def release(self) -> None:
        """Let go."""
        self._lock.release()


def remove_torn_end(path: Path) -> None:
    """Cut a file of lines after its last whole line."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        end = file.seek(0, 2)
        at = end
        while at > 0:
            start = max(0, at - _BLOCK)
            file.seek(start)
            newline = file.read(at - start).rfind(b"\n")
            if newline >= 0:
                at = start + newline + 1
                break
            at = start
        if at < end:
            file.truncate(at)
