"""What ``miracle doctor`` prints. It needs the standard library alone."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from miracle_cli.output import message, plain, printing

if TYPE_CHECKING:
    from miracle_core.doctor import Examination, Finding


def look(as_json: bool) -> int:
    """Look at everything and print it.

    Returns:
        The exit code: 1 if something that is needed is broken.
    """
    from miracle_core.doctor import examine

    message("looking at the installation ...")
    found = examine()
    text = json.dumps(found.summary(), indent=2) if as_json else _text(found)
    with printing():
        sys.stdout.write(text + "\n")
    return 0 if found.well else 1


def _text(found: Examination) -> str:
    lines: list[str] = []
    width = max((len(each.name) for every in found.groups.values() for each in every), default=0)
    for group, every in found.groups.items():
        lines += [group]
        well = [each for each in every if each.state == "ok"]
        if group == "libraries" and well:
            lines.append(f"  ok       {', '.join(f'{e.name} {e.found}' for e in well)}")
            every = [each for each in every if each.state != "ok"]
        lines += [f"  {each.state:<8} {each.name:<{width}}  {plain(each.found)}" for each in every]
    to_do = [
        each for state in ("broken", "warning", "missing") for each in _with_remedy(found, state)
    ]
    if to_do:
        lines += ["what to do"]
        lines += [f"  {each.name:<{width}}  {plain(each.remedy)}" for each in to_do]
    broken = len(found.of("broken"))
    lines.append("all that is needed works" if not broken else f"broken: {broken}, see above")
    return "\n".join(lines)


def _with_remedy(found: Examination, state: str) -> list[Finding]:
    """Findings with something to do; of the same advice the first."""
    each_once = {each.remedy: each for _, each in reversed(found.of(state)) if each.remedy}
    return list(reversed(each_once.values()))
