"""How often a comparison of two identical systems says that they differ: 5 % is right.

    python -m benchmarks.significance [--tables 5000] [--json]

Each table has users in clusters (customers with several invoices), two systems that are one and the
same, and several seeds of each. A user's held-out item is found or not, and its rank gives NDCG@10.
What decides is the sum of the user's ease, the customer's, the seed's luck over all users, its luck
with each customer, and chance. Beside the rate of our test stands that of a test which takes users
as the only source of variance, as most published tables do.

(It is not called ``statistics``: a script of that name would hide Python's own module.)
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from miracle_core.report.statistics import Pair

SEED = 2023
_GAINS = 1 / np.log2(np.arange(2, 12))  # NDCG of ranks 1 to 10


@dataclass(frozen=True)
class Scenario:
    """A kind of table.

    Attributes:
        seeds: of each of the two systems.
        users: how many.
        customers: clusters of users; as many as users where users are independent.
        luck: standard deviation of a seed's luck over all users.
        own: of a seed's luck with each customer.
        apart: of what a system is to each customer under any seed; 0 for one and the same system,
            above it for two that are equal on average only.
    """

    seeds: tuple[int, int]
    users: int = 1000
    customers: int = 1000
    luck: float = 0.0
    own: float = 0.3
    apart: float = 0.0


SCENARIOS = {
    "users and seeds": Scenario((5, 5), luck=0.08),
    "clusters": Scenario((5, 5), customers=200, luck=0.08),
    "clusters, strong seeds": Scenario((5, 5), customers=200, luck=0.25),
    "clusters, no seed effect": Scenario((5, 5), customers=200),
    "equal on average only": Scenario((5, 5), customers=200, luck=0.08, apart=0.5),
    "three seeds": Scenario((3, 3), customers=200, luck=0.08),
    "ten seeds against three": Scenario((10, 3), customers=200, luck=0.08),
}


def table(
    scenario: Scenario, rng: np.random.Generator
) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.int64]]:
    """NDCG@10 of two identical systems, [seeds, users] each, and the users' customers."""
    clusters = np.arange(scenario.users) * scenario.customers // scenario.users
    ease = rng.normal(-1.0, 0.7, scenario.customers)[clusters] + rng.normal(0, 0.5, scenario.users)
    systems = []
    for seeds in scenario.seeds:
        luck = rng.normal(0, scenario.luck, (seeds, 1)) if scenario.luck else 0.0
        own = rng.normal(0, scenario.own, (seeds, scenario.customers))[:, clusters]
        chance = rng.normal(0, 0.6, (seeds, scenario.users))
        taste = rng.normal(0, scenario.apart, scenario.customers)[clusters]
        found = ease + taste + luck + own + chance > 0
        systems.append(found * rng.choice(_GAINS, found.shape))
    return systems, clusters


def rejections(scenario: Scenario, tables: int, seed: int = SEED) -> dict[str, float]:
    """The share of tables whose two systems are told apart at 5 %, by our test and by users alone.

    Args:
        scenario: what the tables are like.
        tables: how many.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    ours = users_only = 0
    for _ in range(tables):
        (a, b), clusters = table(scenario, rng)
        given = clusters if scenario.customers < scenario.users else None
        p = Pair(a, b, given).difference.p
        assert p is not None
        ours += p < 0.05
        users_only += stats.ttest_rel(a.mean(0), b.mean(0)).pvalue < 0.05
    return {"ours": ours / tables, "users_only": users_only / tables}


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {name: rejections(each, options.tables) for name, each in SCENARIOS.items()}
    result: dict[str, Any] = {"tables": options.tables, "seed": SEED, "rejected": found}
    rows = [
        (name, f"{rate['ours']:.1%} (users as the only source: {rate['users_only']:.1%})")
        for name, rate in found.items()
    ]
    title = f"Identical systems told apart at 5 %, {options.tables:,} tables each"
    harness.show(title, rows, result if options.json else None)


if __name__ == "__main__":
    main()
