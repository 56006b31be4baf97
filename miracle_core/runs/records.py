"""A training's records in its run folder, read without torch: validations, result, kept weights.

The folder's reader (:mod:`miracle_core.runs.folder`) and the explorer's lists share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

CONFIG, RESULT, METRICS = "config.toml", "result.json", "metrics.jsonl"
# The two states of a training that its folder keeps.
Weights = Literal["best", "last"]
WEIGHTS: Mapping[Weights, str] = {
    "best": "model.safetensors",
    "last": "checkpoints/last/state.safetensors",
}
# The entries of a record that hold figures by name.
PARTS = ("train", "valid", "figures")


@dataclass(frozen=True)
class Metrics:
    """What a run's ``metrics.jsonl`` says.

    Attributes:
        records: one a validation, oldest first, as :func:`current` gives them.
        damaged: whether a line could not be read; what follows it is left out.
    """

    records: tuple[dict[str, Any], ...]
    damaged: bool = False


def rising(metric: str, value: float) -> float:
    """A validation metric's value, its sign turned where lower is better."""
    return -value if metric == "loss" else value


def current(record: dict[str, Any]) -> dict[str, Any]:
    """A line of ``metrics.jsonl`` as it is written today.

    Older ones say how capsules were used under ``capsules``; today it is one of the ``figures``.
    """
    old = record.get("capsules")
    if "figures" in record or not isinstance(old, dict):
        return {"figures": {}, **record}
    rest = {name: value for name, value in record.items() if name != "capsules"}
    return {**rest, "figures": {f"capsules_{name}": value for name, value in old.items()}}


def read_metrics(run: Path) -> Metrics:
    """The validations so far; none where their file can't be read."""
    try:
        return parsed_metrics((run / METRICS).read_bytes())
    except OSError:
        return Metrics(())


def parsed_metrics(lines: bytes) -> Metrics:
    """What a ``metrics.jsonl`` says.

    A last line without its end is still being written: it is left out.
    """
    records: list[dict[str, Any]] = []
    for line in lines.split(b"\n")[:-1]:
        record = _record(line, len(records) + 1)
        if record is None:
            return Metrics(tuple(records), damaged=True)
        records.append(record)
    return Metrics(tuple(records))


def _record(line: bytes, epoch: int) -> dict[str, Any] | None:
    """A line as the record of an epoch, or None if it is not that."""
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict) or found.get("epoch") != epoch:
        return None
    record = current(found)
    return record if all(isinstance(record.get(part), dict) for part in PARTS) else None


def read_result(run: Path) -> dict[str, Any]:
    """The run's final figures; empty while there are none, or none that can be read."""
    return json_object(run / RESULT)


def json_object(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty where there is none that can be read."""
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def epoch_of(metadata: Mapping[str, str]) -> int | None:
    """How many epochs the weights in a file were trained for, or None if it doesn't say."""
    try:
        if "position" in metadata:
            return int(orjson.loads(metadata["position"])["epoch"])
        return int(metadata["epoch"])
    except (ValueError, KeyError, TypeError):
        return None


def best_epoch_of(metadata: Mapping[str, str]) -> int:
    """The best epoch so far, as a checkpoint says; 0 if there is none or it doesn't say."""
    try:
        return int(orjson.loads(metadata["position"])["best_epoch"])
    except (ValueError, KeyError, TypeError):
        return 0


def kept_epoch(run: Path, which: Weights) -> int | None:
    """The epoch of some weights, as their file says, or None if it doesn't."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(run / WEIGHTS[which], framework="numpy") as file:
            return epoch_of(file.metadata() or {})
    except (OSError, SafetensorError):
        return None
