"""Text similarity as a scorer, compared with a plain implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from miracle_core.data.dataset import Dataset
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.systems.base import ItemSide
from tests.support.runs import tiny_shop
from tests.support.scorers import fitted


def history_of(data: Dataset, user: int) -> list[int]:
    """The items before the test item."""
    items: list[int] = data.sequence(user)[:-1].tolist()
    return items


@pytest.mark.parametrize("max_length", [1, 3, 20])
@pytest.mark.parametrize("leave_out", [True, False])
def test_an_item_is_as_good_as_its_nearest_text_in_the_history(
    tmp_path: Path, max_length: int, leave_out: bool
) -> None:
    data = tiny_shop(tmp_path / "data")
    text = torch.from_numpy(data.features().astype(np.float32))
    system = fitted("textknn", data, max_length=max_length).system
    scorer = system.scorer(ItemSide(system.prepared(text * 7.0)))  # the length has no effect
    found = evaluate(scorer, data, ks=[10], leave_out=leave_out)
    directions = text.double().numpy()
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    for user, target, rank in zip(found.users, found.targets, found.ranks, strict=True):
        history = history_of(data, user)
        scores = (directions @ directions[history[-max_length:]].T).max(1)
        if leave_out:
            if target in history:
                assert rank > data.n_items
                continue
            scores[history] = -np.inf
        # float32 may swap items with nearly equal scores.
        better = (scores > scores[target] + 1e-6).sum()
        as_good = (scores > scores[target] - 1e-6).sum()
        assert better + 1 <= rank <= as_good


def test_items_of_the_history_are_left_out(tmp_path: Path) -> None:
    data = tiny_shop(tmp_path / "data")
    found = evaluate(fitted("textknn", data), data, leave_out=True, keep_top=5)
    assert found.top_items is not None
    for user, best in zip(found.users, found.top_items, strict=True):
        assert not set(best) & set(history_of(data, user))


def test_as_printed_a_history_leads_to_its_own_items(tmp_path: Path) -> None:
    data = tiny_shop(tmp_path / "data")
    found = evaluate(fitted("textknn", data), data, keep_top=1)
    assert found.top_items is not None
    for user, best in zip(found.users, found.top_items, strict=True):
        assert best[0] in history_of(data, user)
