"""A log of each look at the test part, in the run's folder: ``test_looks.jsonl``.

If a model is chosen by its test figures, they are no longer a fair test. The log shows how often
they were looked at.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from miracle_core.data.dataset import Dataset

LOOKS = "test_looks.jsonl"


def log_look(run: Path, command: str, seen: str, dataset: Dataset) -> str | None:
    """Add a line: when, by which command, under which seen rule, and of which data.

    Args:
        run: the run folder.
        command: ``train`` (its end) or ``evaluate``.
        seen: the rule that was ranked by.
        dataset: whose test part was read.

    Returns:
        None, or why the line could not be written (such as a read-only folder).
    """
    line = orjson.dumps(
        {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command,
            "seen": seen,
            "dataset": dataset.name,
            "fingerprint": dataset.manifest.fingerprint,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
    try:
        # One write at the end of the file: two evaluations at a time lose no line.
        handle = os.open(run / LOOKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)
    except OSError as error:
        return f"this look at the test part is not logged in {run / LOOKS}: {error.strerror}"
    return None


def read_looks(run: Path) -> list[dict[str, Any]]:
    """The looks at the test part so far, oldest first; lines that are not whole are left out."""
    path = run / LOOKS
    looks = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            looks.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            continue
    return looks
