"""The Python code of the README and of docs/recommend.md runs as printed."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from miracle_core.recommender import ItemId, NewTitle, Recommender

ROOT = Path(__file__).parents[2]
# Names in a document, and their replacements for the small run.
RENAMED = {
    "demo/run": "{run}",
    "runs/scientific": "{run}",
    "runs/shop": "{run}",
    "B00IBZE2EQ": "I03",
    "G-101": "I04",
    "ann": "user-0",
}


def snippets(document: str, run: Path) -> list[str]:
    """The indented blocks of a document that use the Recommender, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, flags=re.MULTILINE)
    found = [textwrap.dedent(block) for block in blocks if "recommender." in block]
    for name, here in RENAMED.items():
        found = [block.replace(name, here.format(run=run)) for block in found]
    return found


@pytest.mark.parametrize(("document", "count"), [("README.md", 1), ("docs/recommend.md", 2)])
def test_python_in_a_document_runs(
    document: str, count: int, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = snippets(document, small_run)
    assert len(blocks) == count
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, document, "exec"), names)
    shown = capsys.readouterr().out
    recommender = Recommender.load(small_run)
    if document == "README.md":
        typed = ("nitrile gloves, large", "1.75 mm PLA filament")
        found = recommender.recommend([recommender.match(title)[0].given for title in typed], 5)
        for interest in found.capsules:  # every interest is shown with its own items
            assert f"{interest.capsule} {interest.label} {interest.strength:.2f}" in shown
            assert all(f"  rank {item.rank}: {item.title}" in shown for item in interest.best)
    else:
        # The history of the last block: a row number, an id and a newly typed title.
        given = [17, ItemId("I03"), NewTitle("1.75 mm PLA filament")]
        expected = recommender.recommend(given, top_k=10)
        found = names["found"]
        assert isinstance(found, type(expected))
        assert [item.item for item in found.items] == [item.item for item in expected.items]
