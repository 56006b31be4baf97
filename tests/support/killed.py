"""Jobs for the tests of kills, run in separate processes (see ``warm.py``); light to fork."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from miracle_core import files
from miracle_core.data import download as downloading
from miracle_core.data.download import PublicData, RemoteFile
from miracle_core.files import replacing_folder
from miracle_core.locks import one_writer


class Killer:
    """Counts the system calls that Python makes, and kills the process before one of them.

    Args:
        at: the number of the call to kill before; 0 for never.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def __call__(self, frame: object, event: str, called: Any) -> None:
        if event != "c_call":
            return
        module = getattr(called, "__module__", None)
        owner = type(getattr(called, "__self__", None)).__name__
        if module not in ("posix", "fcntl") and owner not in ("BufferedWriter", "FileIO"):
            return
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[], object], at: int, counted: str) -> None:
    killer = Killer(at)
    sys.setprofile(killer)
    work()
    sys.setprofile(None)
    Path(counted).write_text(str(killer.count))


def fill(folder: str | Path, word: str) -> None:
    """Fill a folder with files that all contain the word."""
    with replacing_folder(folder) as beside:
        (beside / "within").mkdir()
        for name in ("one", "two", "within/three"):
            (beside / name).write_text(word)


def swap(folder: str, word: str, in_one_step: bool, at: int, counted: str) -> None:
    """Run :func:`fill` and get killed; without folder exchange, it uses two renames."""
    if not in_one_step:
        files.exchange = lambda *_: False  # type: ignore[assignment]
    killed(lambda: fill(folder, word), at, counted)


def load(url: str, out: str, at: int, counted: str) -> None:
    """Download without a stated hash, and get killed."""
    downloading._CHUNK = 4096
    killed(lambda: downloading.download(data_at(url), out), at, counted)


def data_at(url: str, **stated: str) -> PublicData:
    """A public data set with one file."""
    return PublicData("x", "x", "page", "free", "cite", "table", (RemoteFile(url, **stated),))


def hold(path: str, begun: str) -> None:
    """Hold the lock of a path until this process is killed."""
    sys.argv = ["/bin/miracle", "finetune", "--out", "my runs/a"]
    with one_writer(path):
        Path(begun).write_text(str(os.getpid()))
        time.sleep(60)
