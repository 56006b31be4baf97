"""The paper's figure 6: which capsules users activate, and how many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from miracle_core.experiments.plan import Run
from miracle_core.recommender import Recommender


def activations(run: Run, out: Path) -> dict[str, Any] | None:
    """A run's capsules as ``experiment.json`` has them; None for a system without capsules.

    Args:
        run: a run that was trained on its Dataset.
        out: the experiment's folder.

    Returns:
        ``users``: a sample of twelve, the items of each that activate each capsule; ``mean`` and
        ``histogram``: active capsules of all users before their test item.
    """
    if run.kind != "train":
        return None
    recommender = Recommender.load(run.folder(out), seen=run.seen)
    if not recommender.abilities.capsules:
        return None
    sample, use = recommender.activations(), recommender.capsule_use()
    return {
        "data": run.data,
        "column": run.column,
        "system": run.system,
        "seed": run.seed,
        "run": run.name,
        "mean": use.mean,
        "histogram": {str(size): int(users) for size, users in use.histogram.items()},
        "in_use": int((use.users > 0).sum()),
        "user_ids": list(sample.user_ids),
        "lengths": [int(length) for length in sample.lengths],
        "counts": sample.counts.tolist(),
    }
