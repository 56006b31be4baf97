"""Make a run folder in the format of the versions whose only system was MIRACLE."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import orjson
import tomli_w

from miracle_core.runs.folder import RunFolder
from miracle_core.runs.tensors import load_tensors, save_tensors


def make_old(path: Path) -> Path:
    """Convert a fresh run of MIRACLE to the old format, in place."""
    run = RunFolder(path)
    config = tomllib.loads(run.config.read_text())
    run.config.write_text(tomli_w.dumps(old_settings(config)))
    for file in (run.weights, run.state):
        if file.is_file():
            tensors, metadata = load_tensors(file)
            assert metadata.pop("kind") == "miracle"
            if "position" in metadata:
                position = orjson.loads(metadata["position"])
                capsules = [0] * config["model"]["capsules"]
                position["used"] = position.pop("counters").get("capsules", capsules)
                metadata["position"] = orjson.dumps(position).decode()
            save_tensors(file, tensors, metadata)
    if run.metrics.is_file():
        lines = map(json.loads, run.metrics.read_text().splitlines())
        run.metrics.write_text("".join(json.dumps(old_record(line)) + "\n" for line in lines))
    if run.result.is_file():
        result = json.loads(run.result.read_text())
        for name in ("model", "seen", "figures"):
            result.pop(name, None)
        run.result.write_text(json.dumps(result))
    return path


def old_settings(config: dict[str, Any]) -> dict[str, Any]:
    """``config.toml`` with the gain under ``model`` and the loss weights under ``loss``."""
    model, pretrain, train = (dict(config[name]) for name in ("model", "pretrain", "train"))
    assert model.pop("kind") == "miracle"
    seen = config["seen"]
    assert seen in ("gain", "as-printed"), "there was no other rule"
    model["repeat"] = seen == "gain"
    loss = {name: model.pop(name) for name in ("coverage", "orthogonality", "contrast")}
    for name in ("mask_probability", "mask_min_length"):
        pretrain[name] = model.pop(name)
    train |= {"compile": False, "kernels": "torch"}
    rest = {name: value for name, value in config.items() if name != "seen"}
    return {**rest, "model": model, "loss": loss, "pretrain": pretrain, "train": train}


def old_record(record: dict[str, Any]) -> dict[str, Any]:
    """A line of ``metrics.jsonl`` with ``capsules`` in place of ``figures``."""
    figures = record.pop("figures")
    return {
        **record,
        "capsules": {
            "in_use": figures["capsules_in_use"],
            "per_user": figures["capsules_per_user"],
        },
    }
