"""All checks, one after another; none of them can stop the others."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miracle_core.doctor.encoders import encoders
from miracle_core.doctor.findings import Finding
from miracle_core.doctor.imports import Tried, try_imports
from miracle_core.doctor.libraries import extras, import_groups, libraries
from miracle_core.doctor.machine import devices, disks, memory
from miracle_core.doctor.requirements import Wanted, wanted
from miracle_core.version import __version__

GROUPS = ("program", "libraries", "extras", "devices", "encoders", "disk", "memory")
# Variables that change what the program does or how fast.
_VARIABLES = (
    "MIRACLE_CACHE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "XDG_CACHE_HOME",
    "TMPDIR",
    "PYTHONPATH",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "CUDA_VISIBLE_DEVICES",
)


@dataclass(frozen=True)
class Examination:
    """What was found.

    Attributes:
        groups: the findings of each of :data:`GROUPS`.
    """

    groups: dict[str, list[Finding]]

    @property
    def well(self) -> bool:
        """Whether nothing that is needed is broken."""
        return not self.of("broken")

    def of(self, state: str) -> list[tuple[str, Finding]]:
        """All findings of a state, each with its group."""
        found = [(group, each) for group, every in self.groups.items() for each in every]
        return [(group, each) for group, each in found if each.state == state]

    def summary(self) -> dict[str, Any]:
        """The JSON contract of ``miracle doctor --json``."""
        groups = {group: [each.summary() for each in every] for group, every in self.groups.items()}
        return {"ok": self.well, **groups}


def examine() -> Examination:
    """Run all checks; a check that itself fails gives a finding, too."""
    asked: list[Wanted] = []
    tried: Tried = {}
    unknown = _guarded("requirements", lambda: _extend(asked))
    broken = _guarded("imports", lambda: _update(tried, asked))
    checks: dict[str, Callable[[], list[Finding]]] = {
        "program": _program,
        "libraries": lambda: [*unknown, *broken, *libraries(asked, tried)],
        "extras": lambda: extras(asked, tried),
        "devices": lambda: devices(tried),
        "encoders": lambda: encoders(tried),
        "disk": disks,
        "memory": memory,
    }
    return Examination({group: _guarded(group, checks[group]) for group in GROUPS})


def _extend(asked: list[Wanted]) -> list[Finding]:
    asked.extend(wanted())
    return []


def _update(tried: Tried, asked: list[Wanted]) -> list[Finding]:
    if groups := import_groups(asked):
        tried.update(try_imports(groups))
    return []


def _guarded(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except Exception as error:  # a half-broken installation may fail in any way
        words = f"could not be looked at: {type(error).__name__}: {error}"
        remedy = "install the program again: pip install --force-reinstall miracle-rec"
        return [Finding(name, "broken", words, remedy)]


def _program() -> list[Finding]:
    place = Path(__file__).resolve().parents[2]
    called = shutil.which("miracle")
    variables = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    system = platform.platform()
    encoding = sys.stdout.encoding if sys.stdout is not None else None
    return [
        Finding("miracle", "ok", f"{__version__} in {place}", None, {"version": __version__}),
        Finding(
            "python",
            "ok",
            f"{platform.python_version()}, {sys.executable}",
            None,
            {"version": platform.python_version()},
        ),
        Finding("system", "ok", f"{system}, output in {encoding}"),
        Finding("command", "ok", called)
        if called
        else Finding(
            "command",
            "missing",
            "miracle is not on PATH",
            f"call it as {sys.executable} -m miracle_cli",
        ),
        Finding(
            "variables",
            "ok",
            ", ".join(f"{name}={value}" for name, value in variables.items()) or "none set",
            None,
            {"variables": variables},
        ),
    ]
