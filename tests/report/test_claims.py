"""The results of a claim, and the systems for which one run is enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from miracle_core.config import make_settings
from miracle_core.registry import systems
from miracle_core.report.comparison import verdict
from miracle_core.report.statistics import Pair
from miracle_core.runs.opening import build_system
from miracle_core.systems.base import Sizes
from tests.support.runs import tiny_shop


@pytest.mark.parametrize(
    ("shift", "noise", "expected"),
    [
        (0.1, 0.05, "better"),
        (-0.1, 0.05, "worse"),
        (0.001, 0.005, "equal"),
        (-0.02, 1.0, "not told apart"),
    ],
)
def test_verdicts(shift: float, noise: float, expected: str) -> None:
    rng = np.random.default_rng(0)
    ease = rng.normal(0.5, 0.1, 500)
    b = ease + rng.normal(0, noise, (5, 500))
    a = ease + rng.normal(0, noise, (5, 500)) + shift
    found = Pair(a, b).difference
    assert found.p is not None
    assert verdict(found, found.p) == expected
    assert verdict(found, None) == "no claim"


def test_a_sure_difference_within_two_percent_is_equal() -> None:
    """With many users a tiny difference is certain, but still tiny."""
    b = np.random.default_rng(0).normal(0.5, 0.1, (1, 5000))
    a = b + np.random.default_rng(1).normal(0.003, 0.001, (1, 5000))
    found = Pair(a, b, fixed_a=True, fixed_b=True).difference
    assert found.p is not None
    assert found.p < 1e-9
    assert verdict(found, found.p) == "equal"


@pytest.mark.parametrize("kind", [s.name for s in systems() if s.stages == ("fit",)])
def test_one_run_says_all_where_the_seed_changes_nothing(kind: str, tmp_path: Path) -> None:
    data = tiny_shop(tmp_path / "data")
    settings = make_settings({"model": {"kind": kind}})
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        system = build_system(settings, Sizes(data.n_items, 32))
        system.fit(data, seed)
        found.append(system.state_dict())
    equal = all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert settings.spec.seeded == (not equal)
