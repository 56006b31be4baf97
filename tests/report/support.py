"""User results made from numbers, without runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from miracle_core.evaluation.user_results import About, UserResults
from miracle_core.report.systems import SystemRuns


def results(ranks: npt.ArrayLike, seed: int = 1, **about: Any) -> UserResults:
    """The user results of one run; held-out items and histories are the same in all runs."""
    found = np.asarray(ranks, dtype=np.int64)
    users = len(found)
    told = {
        "dataset": "shop",
        "fingerprint": "f" * 64,
        "split": "test",
        "seen": "as-printed",
        "trained_seen": "as-printed",
        "model": "sasrec",
        "seeded": True,
        "run": "run",
        "settings": {},
        "candidates": 1000,
        "weights": "best",
        "weights_sha256": f"{seed:064}",
        "epoch": 3,
        **about,
    }
    return UserResults(
        where=Path("users.parquet"),
        about=About(seed=seed, users=users, **told),
        user_ids=pl.Series([f"u{user}" for user in range(users)]),
        targets=pl.Series([f"i{user % 7}" for user in range(users)]),
        ranks=found,
        lengths=np.arange(users, dtype=np.int64) % 12 + 1,
        interests=np.ones(users, dtype=np.int64),
        target_counts=np.arange(users, dtype=np.int64) % 5,
    )


def system_of(name: str, runs: npt.ArrayLike, model: str | None = None, **about: Any) -> SystemRuns:
    """A system of several runs, ranks int [seeds, users]."""
    found = np.asarray(runs)
    return SystemRuns(
        name,
        tuple(
            results(own, seed, model=model or name, **about) for seed, own in enumerate(found, 1)
        ),
    )


def ranks_near(rng: np.random.Generator, hits: float, seeds: int, users: int) -> Any:
    """Ranks with about this many firsts, the rest beyond 50; users differ in luck."""
    luck = rng.random(users)
    noise = rng.normal(0, 0.05, (seeds, users))
    return np.where(luck + noise < hits, 1, 60)
