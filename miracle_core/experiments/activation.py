"""The paper's figure 6: which capsules users activate, and how many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from miracle_core.experiments.plan import Run
from miracle_core.recommender import Recommender


def activations(run: Run, out: Path) -> dict[str, Any] | None:
    """A run's use of capsules, as an entry of ``experiment.json``.

    Args:
        run: any run of the experiment.
        out: the experiment's folder.

    Returns:
        None if the run was not trained on its Dataset or the system has no capsules. Otherwise
        ``data``, ``column``, ``system``, ``seed`` and ``run`` say which run it is; ``mean`` and
        ``histogram``, how many capsules users have active before their test item; ``in_use``, how
        many capsules any user has active. ``user_ids``, ``lengths`` and ``counts`` say how many
        items of a sample of twelve users activate each capsule.
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
