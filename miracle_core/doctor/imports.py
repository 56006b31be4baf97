"""Whether libraries can be imported, tried in processes of their own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from miracle_core.doctor.probe import MARK

# A library that takes longer than this hangs, or the machine is too busy to tell.
PATIENCE_SECONDS = 180.0
Tried = dict[str, dict[str, Any]]


def try_imports(groups: Sequence[Sequence[str]], patience: float = PATIENCE_SECONDS) -> Tried:
    """Import modules, each group in a process, all groups at once.

    Args:
        groups: the modules of each process, imported in order.
        patience: seconds for all of them.

    Returns:
        Of each module ``state`` (``works`` or ``failed``), ``why`` it failed, and of ``torch`` its
        devices.
    """
    end = time.monotonic() + patience
    with ThreadPoolExecutor(max_workers=len(groups)) as pool:
        found: Tried = {}
        for each in pool.map(lambda group: _in_turn(list(group), end), groups):
            found |= each
    return found


def _in_turn(modules: list[str], end: float) -> Tried:
    """Import all; where one ends the process, another process goes on after it."""
    found: Tried = {}
    while rest := [module for module in modules if module not in found]:
        lines, how = _run(rest, end)
        found |= {line["module"]: line for line in lines if line["state"] != "begins"}
        begun = [line["module"] for line in lines if line["module"] not in found]
        if how is not None or not lines:
            # The module that was being imported; if there is none, Python itself does not start.
            stopped = begun[-1:] or [module for module in rest if module not in found]
            found |= {name: {"state": "failed", "why": how or "unknown"} for name in stopped}
    return found


def _run(modules: list[str], end: float) -> tuple[list[dict[str, Any]], str | None]:
    """The lines of one process, and how it ended if that was not well."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("probe.py")), *modules]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=max(end - time.monotonic(), 0.1),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return _lines(error.stdout or b""), "importing it does not come to an end"
    except OSError as error:
        return [], f"{sys.executable} can't be started: {error.strerror or error}"
    how = None
    if done.returncode < 0:
        how = f"importing it ended the program (signal {-done.returncode})"
    elif done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        how = "importing it ended the program" + (f": {said[-1]}" if said else "")
    return _lines(done.stdout), how


def _lines(output: bytes) -> list[dict[str, Any]]:
    found = []
    for line in output.decode(errors="replace").splitlines():
        if line.startswith(MARK):
            with contextlib.suppress(ValueError):  # a library printed the same word
                found.append(json.loads(line.removeprefix(MARK)))
    return found
