"""Nearness of texts alone, against the plainest way of computing it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from miracle_core.evaluation.evaluate import evaluate
from miracle_core.evaluation.scorers import TextSimilarity
from miracle_core.runs.folder import text_vectors
from tests.support.runs import tiny_shop


@pytest.mark.parametrize("max_length", [1, 3, 20])
def test_an_item_is_as_good_as_its_nearest_text_in_the_history(
    tmp_path: Path, max_length: int
) -> None:
    data = tiny_shop(tmp_path / "data")
    text = text_vectors(data)
    found = evaluate(TextSimilarity(text * 7.0, max_length), data, ks=[10])
    directions = text.double().numpy()
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    for user, target, rank in zip(found.users, found.targets, found.ranks, strict=True):
        history = data.sequences[data.offsets[user] : data.offsets[user + 1] - 1][-max_length:]
        scores = (directions @ directions[history].T).max(1)
        scores[history] -= 3
        # float32 may order what is nearly equal otherwise.
        better = (scores > scores[target] + 1e-6).sum()
        as_good = (scores > scores[target] - 1e-6).sum()
        assert better + 1 <= rank <= as_good


def test_items_of_the_history_come_last(tmp_path: Path) -> None:
    data = tiny_shop(tmp_path / "data")
    found = evaluate(TextSimilarity(text_vectors(data), 20), data, keep_top=5)
    for user, best in zip(found.users, found.top_items, strict=True):
        assert not set(best) & set(data.sequences[data.offsets[user] : data.offsets[user + 1] - 1])
