"""Checks as JUnit XML, which build servers show."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from miracle_core.evaluation.checks import Check
from miracle_core.files import replacing

# All that XML 1.0 can't hold, however it is escaped.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: str | Path, checks: Sequence[Check]) -> None:
    """Write a suite with a test case a check, whole or not at all.

    Args:
        path: the file.
        checks: in their order.
    """
    failures = sum(check.failed for check in checks)
    counts = {"tests": str(len(checks)), "failures": str(failures), "errors": "0"}
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", {"name": "miracle evaluate", **counts})
    for check in checks:
        name = _plain(f"{check.metric} {check.demand}")
        case = ET.SubElement(suite, "testcase", {"classname": _plain(check.run), "name": name})
        if check.failed:
            failure = ET.SubElement(case, "failure", {"message": _plain(check.detail)})
            failure.text = _plain(check.detail)
        else:
            ET.SubElement(case, "system-out").text = _plain(check.detail)
    ET.indent(root)
    with replacing(path) as beside:
        ET.ElementTree(root).write(beside, encoding="utf-8", xml_declaration=True)


def _plain(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
