"""The tutorials, run from an empty folder with the blocks in the pages themselves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from miracle_core import registry
from tests.docs.pages import run_page
from tests.support.demos import small_demo


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder from which Python can import modules."""
    monkeypatch.setenv("MIRACLE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("my_system", None)


def test_the_tutorial_of_a_shop(empty: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    run_page("shop.md", names)
    bought = {user: set(items["sku"]) for (user,), items in names["sales"].group_by("customer")}
    lists = pl.read_parquet(empty / "recs.parquet")
    assert lists.columns[:3] == ["user_id", "rank", "item_id"]
    for (user,), items in lists.group_by("user_id"):
        assert not bought[user] & set(items["item_id"])
        assert not {"KIT00001", "KIT00002"} & set(items["item_id"])
    # The new run replaced the old one. The first lists were made without the last week.
    assert (empty / "runs/kitchen/update.json").is_file()
    first = names["recommendations"]
    assert any(bought[user] & set(items["item_id"]) for (user,), items in first.group_by("user_id"))
    page = (empty / "kitchen.html").read_text()
    assert page.startswith("<!") and "http://" not in page.replace("http://www.w3.org/", "")
    assert (empty / "capsules.svg").is_file()
    assert np.load(empty / "exported/items.npy").shape[0] == 200
    last = capfd.readouterr().out.splitlines()[-10:]  # the output of exported/use.py
    assert all(line.startswith("KIT") for line in last), last


def test_the_tutorial_of_a_researcher(empty: Path) -> None:
    names: dict[str, Any] = {}
    try:
        run_page("research.md", names)
    finally:
        registry.unregister("newest")
    assert set(names["compared"].frame().index) == {"miracle", "itemknn"}
    assert 0 <= names["own"].test["recall@10"] <= 1
    table = (empty / "experiments/losses/table.md").read_text()
    assert "softmax" in table and "gBCE" in table
    assert "miracle" in (empty / "table.tex").read_text().lower()
    report = (empty / "report.html").read_text()
    assert "SASRec" in report and "ItemKNN" in report
    trials = list((empty / "studies/sasrec/trials").glob("*/result.json"))
    assert len(trials) == 2
    assert not any("test" in json.loads(trial.read_text()) for trial in trials)


def test_the_quick_start(empty: Path) -> None:
    def small(words: Sequence[str]) -> bool:
        if list(words) != ["demo"]:
            return False
        small_demo(Path("demo"))
        return True

    names: dict[str, Any] = {}
    assert len(run_page("quickstart.md", names, instead=small)) == 4
    assert len(names["found"].items) == 5


def test_a_page_that_goes_stale_is_noticed(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty / "stale.md").write_text("```sh\nmiracle train --dada data/shop\n```\n")
    monkeypatch.setattr("tests.docs.pages.DOCS", empty)
    with pytest.raises(AssertionError, match="--dada"):
        run_page("stale.md", {})
    # An import does not survive the end of the interpreter before a shell command.
    page = "```python\nimport math\n```\n```python\nmath.pi\n```\n"
    (empty / "stale.md").write_text(page)
    run_page("stale.md", {})
    (empty / "stale.md").write_text(page + "```sh\nmiracle models\n```\n```python\nmath.e\n```\n")
    with pytest.raises(NameError, match="math"):
        run_page("stale.md", {})
    (empty / "stale.md").write_text("text\n\n```python\nprint('good')\nraise KeyError\n```\n")
    with pytest.raises(KeyError) as caught:
        run_page("stale.md", {})
    assert caught.traceback[-1].lineno + 1 == 5
