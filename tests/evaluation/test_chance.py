"""Scores without information must not look good, whoever the targets are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from miracle_core.data.dataset import Dataset, Split
from miracle_core.data.writing import write_dataset
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.evaluation.references import constant_ranks, references
from tests.support.runs import tiny_shop
from tests.support.scorers import constant, fitted

ITEMS, K = 2000, 100


def shop(folder: Path, targets: list[int]) -> Dataset:
    """One user per target, with two other items before it."""
    names = [f"i{i}" for i in range(ITEMS)]
    return write_dataset(
        folder,
        name="shop",
        items=pl.DataFrame({"item_id": names, "title": names, "text": names, "domain": names}),
        user_ids=[f"u{u}" for u in range(len(targets))],
        sequences=np.array([[1998, 1999, t] for t in targets], dtype=np.int32).ravel(),
        offsets=3 * np.arange(len(targets) + 1),
        sources=[],
        settings={},
        counts={},
    )


@pytest.mark.parametrize(
    "targets",
    [list(range(400)), list(range(1590, 1990)), list(range(0, 2000, 5))],
    ids=["first", "last", "spread"],
)
def test_a_constant_score_reaches_what_chance_does(tmp_path: Path, targets: list[int]) -> None:
    """400 different targets and K / V = 5 %: 20 hits expected, with standard deviation 4.2."""
    data = shop(tmp_path / "d", targets)
    for scores in (torch.zeros(ITEMS), torch.full((ITEMS,), -3.5)):
        found = evaluate(constant(scores), data, ks=(K,))
        assert 20 - 3 * 4.2 < found.metrics[f"recall@{K}"] * 400 < 20 + 3 * 4.2
    random = evaluate(fitted("random", data), data, ks=(K,))
    assert 20 - 3 * 4.2 < random.metrics[f"recall@{K}"] * 400 < 20 + 3 * 4.2


def test_ties_with_the_best_do_not_help(tmp_path: Path) -> None:
    """The first 1000 items tie for the top, so the targets among them are found in K / 1000."""
    data = shop(tmp_path / "d", list(range(400)))
    scores = torch.zeros(ITEMS)
    scores[:1000] = 1.0
    found = evaluate(constant(scores), data, ks=(K,))
    assert 40 - 3 * 6 < found.metrics[f"recall@{K}"] * 400 < 40 + 3 * 6
    assert found.ranks.max() <= 1000


def test_popularity_is_not_told_the_targets(tmp_path: Path) -> None:
    """All users share a target that is not in the training part. It ties with all other items."""
    data = shop(tmp_path / "d", [7] * 50)
    found = evaluate(fitted("popularity", data), data, ks=(1,))
    assert found.metrics["recall@1"] == 0.0
    assert found.ranks.min() == found.ranks.max() > 2


def test_item_0_is_an_item(tmp_path: Path) -> None:
    data = shop(tmp_path / "d", [0, 1])
    found = evaluate(constant(-torch.arange(ITEMS).float()), data, keep_top=2)
    assert found.ranks.tolist() == [1, 2]
    assert found.top_items is not None
    assert found.top_items.tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("leave_out", [False, True])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_references_are_what_full_ranking_gives(
    tmp_path: Path, split: Split, leave_out: bool
) -> None:
    """Sorting the catalogue once equals ranking it for each user."""
    data = tiny_shop(tmp_path / "d")
    few = torch.from_numpy(np.random.default_rng(0).integers(0, 4, data.n_items)).double()
    for scorer in (fitted("popularity", data), fitted("random", data), constant(few)):
        full = evaluate(scorer, data, split, leave_out=leave_out)
        once = constant_ranks(scorer.items.squeeze(1).numpy(), data, split, leave_out)
        assert np.array_equal(once, full.ranks)
    found = references(data, split, ks=(3, 10), leave_out=leave_out)
    for name, kind in (("popularity", "popularity"), ("chance", "random")):
        scorer = fitted(kind, data)
        full = evaluate(scorer, data, split, ks=(3, 10), leave_out=leave_out)
        assert found[name].metrics == pytest.approx(full.metrics, abs=1e-12)
