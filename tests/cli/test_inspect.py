"""``miracle inspect``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from miracle_cli.activation_figure import told_apart
from miracle_cli.main import main
from miracle_core.recommender import Recommender
from tests.support.runs import TITLES, tiny_run

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def small(small_run: Path) -> Recommender:
    return Recommender.load(small_run)


def test_json_is_what_the_recommender_says(
    small: Recommender, small_run: Path, capsys: Capture
) -> None:
    assert main(["inspect", str(small_run), "--user", "user-12", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    use = small.capsule_use()
    assert [c["capsule"] for c in shown["capsules"]] == list(range(7))
    for told, summary in zip(shown["capsules"], small.capsules(), strict=True):
        assert told == {
            "capsule": summary.capsule,
            "label": summary.label,
            "words": list(summary.words),
            "share": summary.share,
            "share_of_users": use.users[summary.capsule],
            "share_of_history_items": use.items[summary.capsule],
            "items": [{"item_id": f"I{item:02}", "title": TITLES[item]} for item in summary.items],
            "neighbours": [{"capsule": c, "cosine": cosine} for c, cosine in summary.neighbours],
        }
    assert shown["active_per_user"] == {
        "mean": use.mean,
        "histogram": {str(size): users for size, users in use.histogram.items()},
    }
    counts = small.activations(["user-12"]).counts[0]
    assert shown["users"] == [
        {
            "user_id": "user-12",
            "length": 6,
            "capsules": {str(c): int(n) for c, n in enumerate(counts) if n},
        }
    ]


def test_people_read_capsules_their_use_and_figure_6(
    small: Recommender, small_run: Path, capsys: Capture
) -> None:
    assert main(["inspect", str(small_run)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert small.label(3) in shown
    use = small.capsule_use()
    assert f"{use.mean:.2f} a user" in shown
    unused = [str(c) for c in np.flatnonzero(use.users == 0)]
    assert unused
    assert f"{', '.join(unused)}\n" in shown
    sample = small.activations()
    rows = shown[shown.index("capsules that a user's items activate") :].splitlines()
    assert rows[1].split() == ["user", "n", *map(str, range(7))]
    for row, user_id, length, counts in zip(
        rows[2:], sample.user_ids, sample.lengths, sample.counts, strict=False
    ):
        glyphs = ["·░▒▓█"[min(n, 4)] for n in counts]
        assert row.split() == [user_id, str(length), *glyphs]
    assert rows[-1] == "items  · 0  ░ 1  ▒ 2  ▓ 3  █ 4+"


def test_capsules_that_say_the_same_are_named(tmp_path: Path, capsys: Capture) -> None:
    from miracle_core.runs.folder import RunFolder
    from miracle_core.runs.tensors import load_tensors, save_tensors

    folder = RunFolder(tiny_run(tmp_path))
    tensors, metadata = load_tensors(folder.weights)
    tensors["capsules.base"][5] = 2 * tensors["capsules.base"][2]
    save_tensors(folder.weights, tensors, metadata)
    assert main(["inspect", str(folder.path)]) == 0
    assert "nearly the same  2 and 5" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_figure_6_is_drawn(small_run: Path, tmp_path: Path, capsys: Capture, kind: str) -> None:
    pytest.importorskip("matplotlib")
    first, second = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    assert main(["inspect", str(small_run), "--figure", str(first)]) == 0
    assert f"figure written to {first}" in capsys.readouterr().err
    assert main(["inspect", str(small_run), "--figure", str(second), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["users"]
    assert first.read_bytes() == second.read_bytes()
    if kind == "svg":
        assert "n=6</text>" in first.read_text(encoding="utf-8")
    else:
        assert first.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_told_at_once(tmp_path: Path, capsys: Capture) -> None:
    for name in ("figure.jpg", "figure"):
        assert main(["inspect", str(tmp_path / "no run"), "--figure", name]) == 2
        assert "end its name in .png or .svg" in capsys.readouterr().err


ALIKE = ["x" * 20 + digit + "y" * 20 for digit in "12"]


@pytest.mark.parametrize(
    ("ids", "shown"),
    [
        (["user-10", "a@example.org"], ["user-10", "a@example.org"]),
        (["A1B2C3D4E5F6G7H8I9J0K1L2M3"], ["A1B2C3D4E5F6…8I9J0K1L2M3"]),
        (ALIKE, ALIKE),  # both end alike, so more of them is shown
        (["same", "same"], ["same", "same"]),
        (["a\x1b[2Jb"], ["a [2Jb"]),
    ],
)
def test_user_ids_in_a_figure_can_be_told_apart(ids: list[str], shown: list[str]) -> None:
    assert told_apart(ids) == shown


@pytest.mark.parametrize(
    ("args", "expected"),
    [(["--user", "usr-3"], "did you mean user-3?"), (["--users"], "No such option")],
)
def test_bad_input_is_told(
    small_run: Path, capsys: Capture, args: list[str], expected: str
) -> None:
    assert main(["inspect", str(small_run), *args]) == 2
    said = capsys.readouterr()
    assert (said.out, expected in said.err) == ("", True)
