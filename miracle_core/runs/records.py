"""The records of a training, one a validation, as today's code reads them."""

from __future__ import annotations

from typing import Any


def current(record: dict[str, Any]) -> dict[str, Any]:
    """A line of ``metrics.jsonl`` as it is written today.

    Older ones say how capsules were used under ``capsules``; today it is one of the ``figures``.
    """
    old = record.get("capsules")
    if "figures" in record or not isinstance(old, dict):
        return {"figures": {}, **record}
    rest = {name: value for name, value in record.items() if name != "capsules"}
    return {**rest, "figures": {f"capsules_{name}": value for name, value in old.items()}}
