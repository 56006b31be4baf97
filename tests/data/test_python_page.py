"""docs/python.md: its blocks run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    rows = [
        f"c{user},S{(user + day) % 12:02},2024-01-{day:02},Thing {(user + day) % 12},shelf"
        for user in range(12)
        for day in range(1, 7)
    ]
    Path("sales.csv").write_text("\n".join(["customer,sku,day,label,shelf", *rows]) + "\n")
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    assert (names["data"].n_users, names["data"].n_items) == (12, 12)
    assert len(names["interactions"]) == 72 and len(names["train"]) == 48
    assert list(names["history"]["epoch"]) == [1, 2]
    assert list(names["table"].index) == ["shop", "popularity", "chance"]
    frame = names["found"].frame()
    assert isinstance(frame, pd.DataFrame)
    assert [list(frame["rank"]), frame["item_id"].nunique()] == [[1, 2, 3, 4, 5], 5]
