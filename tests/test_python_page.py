"""docs/python.md: its blocks run as printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from miracle_core import registry

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 8
    monkeypatch.setenv("MIRACLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = [
        f"c{user},S{(user + day) % 12:02},2024-01-{day:02},Thing {(user + day) % 12},shelf"
        for user in range(12)
        for day in range(1, 7)
    ]
    Path("sales.csv").write_text("\n".join(["customer,sku,day,label,shelf", *rows]) + "\n")
    names: dict[str, Any] = {}
    try:
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
    finally:
        registry.unregister("markov")
    assert (names["data"].n_users, names["data"].n_items) == (12, 12)
    assert len(names["interactions"]) == 72 and len(names["train"].__name__) == 5
    assert (names["shop"].epochs, names["shop"].status) == (2, "finished")
    assert list(names["history"]["epoch"]) == [1, 2]
    assert list(names["table"].index) == ["shop", "popularity", "chance"]
    assert set(names["compared"].frame().index) == {"miracle", "popularity"}
    one = names["one"].frame()
    assert isinstance(one, pd.DataFrame)
    assert [list(one["rank"]), one["item_id"].nunique()] == [[1, 2, 3, 4, 5], 5]
    assert list(names["several"].frame()["user_id"]) == ["0"] * 5 + ["1"] * 5
    everybody = names["everybody"].frame()
    assert everybody["user_id"].nunique() == 12 and len(everybody) == 60
    assert names["unseen"].vectors.shape == (1, 32) and len(names["typed"]) >= 2
    # The vectors alone give the recommender's scores, since as-printed has no gain.
    listed = names["recommender"].recommend_users(["c0"], top_k=12).frame()
    scores = dict(zip(names["items"].ids, names["best"], strict=True))
    assert np.allclose([scores[item] for item in listed["item_id"]], listed["score"], atol=1e-6)
