"""docs/extending.md: every extension point has an example, and the page's run works."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from miracle_core import registry
from tests.docs.pages import DOCS, blocks, run_page


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRACLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, Any] = {}
    try:
        run_page("extending.md", names)
    finally:
        registry.unregister("short")
        sys.modules.pop("my_loss", None)
    assert (names["data"].n_users, names["data"].n_items) == (20, 15)
    # The added loss term is trained and recorded.
    assert names["run"].history()["train/length"].iloc[-1] > 0
    assert names["diary"].lines[-1] == "finished" and len(names["diary"].lines) == 3
    assert names["users"].height == 20
    assert (names["served"]["stock"] > 0).all() and len(names["served"]) == 60
    assert (tmp_path / "runs/recipe/2-evaluate/result.json").is_file()


def test_every_extension_point_leads_to_an_example() -> None:
    page = (DOCS / "extending.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| ([^|]+) \| ([^|]+) \| (.+) \|$", page, re.MULTILINE)[1:]
    assert len(table) == 11
    for point, _, examples in table:
        links = re.findall(r"\(([\w.-]*)#([\w-]+)\)", examples)
        assert links, point
        for file, anchor in links:
            other = file or "extending.md"
            text = (DOCS / other).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
            assert anchor in anchors, f"{point}: {other} has no #{anchor}"
            assert any(block.language in ("python", "toml") for block in blocks(other)), point
