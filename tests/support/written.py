"""Jobs for the tests of tensors and full disks, run in separate processes (see ``warm.py``)."""

from __future__ import annotations

import json
import resource
from pathlib import Path

# Imported by the parent process, so that its forks need not import it.
import numpy as np
import polars as pl
import torch

from miracle_core.data.dataset import EncoderIdentity
from miracle_core.data.writing import write_dataset, write_features
from miracle_core.errors import MiracleError
from miracle_core.files import write_json
from miracle_core.runs.tensors import save_tensors
from tests.support.killed import hold, killed

__all__ = ["checkpoint", "full_disk", "hold"]


def checkpoint(path: str, value: float, at: int, counted: str) -> None:
    """Write tensors as a checkpoint, and get killed."""
    torch.set_num_threads(1)
    tensors = {name: torch.full((64,), value) for name in ("a", "b")}
    killed(lambda: save_tensors(Path(path), tensors, {"value": str(value)}), at, counted)


def full_disk(kind: str, path: str, said: str) -> None:
    """Write a file larger than the system allows this process, and return the error message."""
    work = {
        "json": lambda: write_json(path, "x" * 100_000),
        "tensors": lambda: save_tensors(Path(path), {"a": torch.ones(100_000)}, {}),
        "dataset": lambda: dataset(path, 100_000),
        "features": lambda: write_features(
            path, np.ones((4, 20_000), np.float32), identity(20_000)
        ),
    }[kind]
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        work()
    except MiracleError as error:
        code, told = error.exit_code, {"what": error.what, "where": error.where}
        Path(said).write_text(json.dumps({**told, "fix": error.remedy, "exit": code}))


def dataset(folder: str | Path, interactions: int = 12) -> None:
    """A Dataset of four items."""
    items = pl.DataFrame({c: [f"{c}{i}" for i in range(4)] for c in ("item_id", "title", "text")})
    write_dataset(
        folder,
        name="shop",
        items=items.with_columns(domain=pl.lit("d")),
        user_ids=[f"u{i}" for i in range(interactions // 4)],
        sequences=np.arange(interactions, dtype=np.int32) % 4,
        offsets=4 * np.arange(interactions // 4 + 1),
        sources=[],
        settings={},
        counts={},
    )


def identity(width: int) -> EncoderIdentity:
    """The identity of some encoder."""
    return EncoderIdentity(name="e", revision="r", pooling="none", max_length=0, width=width)
