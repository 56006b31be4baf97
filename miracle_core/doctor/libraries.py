"""The libraries: which versions, whether they are in range, whether they can be imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from importlib import metadata

from miracle_core.doctor.findings import Finding, State
from miracle_core.doctor.imports import Tried
from miracle_core.doctor.requirements import EXTRAS, Wanted, fits

# Tried one after another in a process of their own, since they share what takes longest.
_HEAVY = ("torch", "transformers", "sentence_transformers")


def import_groups(wanted: Iterable[Wanted]) -> list[list[str]]:
    """The installed modules in two groups that take about as long."""
    modules = [each.module for each in wanted if installed(each) is not None]
    heavy = [module for module in _HEAVY if module in modules]
    return [group for group in (heavy, [m for m in modules if m not in heavy]) if group]


def installed(wanted: Wanted) -> str | None:
    """The version that is installed, or None."""
    try:
        return metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return None


def libraries(wanted: Iterable[Wanted], tried: Tried) -> list[Finding]:
    """What everybody needs: broken where it is missing, too old or can't be imported."""
    return [_library(each, tried) for each in wanted if each.extra is None]


def extras(wanted: Iterable[Wanted], tried: Tried) -> list[Finding]:
    """What some need: missing is no fault, damaged is a warning."""
    found = []
    for each in wanted:
        if each.extra is None:
            continue
        finding = _library(each, tried)
        use = EXTRAS[each.extra]
        state: State = "warning" if finding.state == "broken" else "ok"
        words = f"{each.name} {finding.found}; for: {use}"
        if installed(each) is None:
            state, words = "missing", f"{each.name} is not installed; it is for: {use}"
        facts = finding.facts | {"extra": each.extra, "for": use}
        found.append(Finding(each.extra, state, words, finding.remedy, facts))
    return found


def _library(wanted: Wanted, tried: Tried) -> Finding:
    version = installed(wanted)
    facts = {"package": wanted.name, "version": version, "needs": wanted.range}
    repair = f"pip install --force-reinstall {wanted.pip}"
    if version is None:
        seen = importlib.util.find_spec(wanted.module) is not None
        words = "its version can't be told" if seen else "not installed"
        return Finding(wanted.name, "broken", words, f"pip install {wanted.pip}", facts)
    if fits(version, wanted.range) is False:
        words = f"{version}, but {wanted.range} is needed"
        return Finding(wanted.name, "broken", words, f"pip install {wanted.pip}", facts)
    how = tried.get(wanted.module)
    if how is None or how["state"] != "works":
        why = "was not tried" if how is None else how["why"]
        words = f"{version}, but can't be imported: {why}"
        return Finding(wanted.name, "broken", words, repair, facts)
    return Finding(wanted.name, "ok", version, None, facts)
