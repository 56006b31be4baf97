"""Approximate search against exact search: how many of the best items it finds, and how fast.

    python benchmarks/index.py [--json] [--items 20000 200000] [--run RUN]

For each size: seconds to build, lists looked into, recall of the exact top-10 and top-100, and
milliseconds for one user's top-100 by the index and exactly (median, users in turn).

The catalogues are generated: items in clusters of about a hundred, interests near items. A trained
model's vectors are less tidy: --run takes those of a run and the interests of its users, and
measures both kinds of index on them.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from miracle_core.index.search import build, kind_for
from miracle_core.index.store import choose_probes, exact_best, recall_of, samples, vector_scorer
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.walk import best_items
from miracle_core.runs.opening import load_run
from miracle_core.systems.miracle.settings import MiracleSettings

USERS, INTERESTS, TOP_K = 200, 4, 100
IN_CLUSTER, SPREAD, NORM_SPREAD = 100, 1.0, 0.2


def generated(n_items: int, seed: int = 0) -> tuple[Tensor, Interests, Interests]:
    """Item vectors in clusters, and two samples of users."""
    width = MiracleSettings().width
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def chosen(below: int, count: int) -> Tensor:
        return torch.randint(0, below, (count,), generator=generator)

    centres = normal(max(n_items // IN_CLUSTER, 1), width)
    items = normal(n_items, width).mul_(SPREAD)
    items += centres[chosen(len(centres), n_items)]
    items *= (NORM_SPREAD * normal(n_items, 1)).exp_()

    def users() -> Interests:
        rows = USERS * INTERESTS
        near = items[chosen(n_items, rows)] + SPREAD / 2 * normal(rows, width)
        capsules = torch.arange(INTERESTS).repeat(USERS)
        return Interests(near, capsules, torch.arange(USERS), ((INTERESTS, USERS),))

    return items, users(), users()


def measure(kind: str, items: Tensor, first: Interests, second: Interests) -> dict[str, Any]:
    """One index of one catalogue."""
    begun = perf_counter()
    index = build(items, kind)
    seconds = perf_counter() - begun
    if index.lists:
        choose_probes(index, first, items)
    recall = {k: recall_of(index, second, items, exact_best(second, items, k)) for k in (10, 100)}
    approximate, exact = [], []
    row = 0
    for k, n in second.groups:
        for _ in range(min(n, 20)):
            one = Interests(
                second.vectors[row : row + k], torch.arange(k), torch.zeros(1).long(), ((k, 1),)
            )
            begun = perf_counter()
            index.find(one.vectors, items, TOP_K)
            middle = perf_counter()
            best_items(one, items, TOP_K)
            approximate.append(middle - begun)
            exact.append(perf_counter() - middle)
            row += k
        row += k * (n - min(n, 20))
    return {
        "items": len(items),
        "kind": kind,
        "build_seconds": seconds,
        "probes": index.probes,
        "recall@10": recall[10],
        "recall@100": recall[100],
        "index_ms": 1e3 * statistics.median(approximate),
        "exact_ms": 1e3 * statistics.median(exact),
    }


def of_run(path: Path) -> list[dict[str, Any]]:
    """Both kinds of index over a run's catalogue."""
    run = load_run(path)
    scorer = vector_scorer(run)
    items = scorer.items
    first, second = samples(run, scorer)
    lists = round(4 * math.sqrt(len(items)))
    return [measure(kind, items, first, second) for kind in ("Flat", f"IVF{lists},Flat")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    found = of_run(options.run) if options.run else []
    for n_items in [] if options.run else options.items:
        found.append(measure(kind_for(n_items), *generated(n_items)))
    result = {"indexes": found, "machine": harness.machine()}
    rows = [
        (
            f"{i['items']:,} items, {i['kind']}",
            f"recall@10 {i['recall@10']:.3f}, @100 {i['recall@100']:.3f}; {i['probes']} probes; "
            f"{i['index_ms']:.2f} ms a user, exact {i['exact_ms']:.2f}; "
            f"built in {i['build_seconds']:.1f} s",
        )
        for i in found
    ]
    harness.show("Approximate search", rows, result if options.json else None)


if __name__ == "__main__":
    main()
