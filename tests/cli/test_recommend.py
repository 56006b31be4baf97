"""``miracle recommend``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from miracle_cli.main import main
from miracle_core.recommender import NewTitle, Recommender
from tests.support.runs import HOSTILE, MAX_LENGTH, TITLES

Capture = pytest.CaptureFixture[str]


def answer(capsys: Capture, *args: str | Path) -> Any:
    assert main(["recommend", *map(str, args), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def fails(capsys: Capture, *args: str | Path) -> str:
    assert main(["recommend", *map(str, args)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_json_is_what_the_recommender_says(small_run: Path, capsys: Capture) -> None:
    shown = answer(capsys, small_run, "--title", TITLES[3], "--title", "a glove", "--top-k", "4")
    found = Recommender.load(small_run).recommend([3, NewTitle("a glove")], 4)
    assert list(shown) == [
        *("run", "model", "dataset", "seen", "user", "history", "capsules", "items", "held_out"),
        "additive",
    ]
    assert shown["additive"] is True
    assert (shown["model"], shown["dataset"], shown["seen"]) == ("miracle", "tiny", "gain")
    assert (shown["user"], shown["held_out"]) == (None, None)
    assert shown["history"] == [
        {
            "item_id": "I03",
            "title": TITLES[3],
            "capsule": found.history[0].capsule,
            "match": "exact",
            "similarity": 1.0,
            "typed": TITLES[3],
        },
        {
            "item_id": None,
            "title": "a glove",
            "capsule": found.history[1].capsule,
            "match": "new",
            "similarity": 0.0,
            "typed": "a glove",
        },
    ]
    for told, capsule in zip(shown["capsules"], found.capsules, strict=True):
        best = told.pop("best")
        assert [b["item_id"] for b in best] == [b.item_id for b in capsule.best]
        assert told == {
            "capsule": capsule.capsule,
            "strength": capsule.strength,
            "label": capsule.label,
            "items": list(capsule.items),
        }
    assert shown["items"] == [
        {
            "rank": item.rank,
            "item_id": item.item_id,
            "title": item.title,
            "score": item.score,
            "capsule": item.capsule,
            "scores": list(item.scores),
            "contributions": list(item.contributions),
            "repeat": item.repeat,
            "boost": item.boost,
            "cooccurrence": item.cooccurrence,
        }
        for item in found.items
    ]


def test_titles_and_ids_keep_the_order_typed(small_run: Path, capsys: Capture) -> None:
    shown = answer(
        *(capsys, small_run, "--item", "I05", "--title", TITLES[9]),
        *(f"--title={TITLES[1]}", "--top-k", "1", "--item=I00", "--title", "--item"),
    )
    assert [own["item_id"] for own in shown["history"]] == ["I05", "I09", "I01", "I00", None]
    assert [own["match"] for own in shown["history"]] == ["id", "exact", "exact", "id", "new"]
    assert shown["history"][4]["title"] == "--item"


def test_a_users_items_come_first(small_run: Path, capsys: Capture) -> None:
    recommender = Recommender.load(small_run)
    past = recommender.user_history("user-7", "test")
    shown = answer(
        capsys, small_run, "--title", TITLES[2], "--user", "user-7", "--held-out", "--top-k", "3"
    )
    own = [*past.items, 2]
    assert shown["user"] == "user-7"
    assert [item["item_id"] for item in shown["history"]] == [f"I{item:02}" for item in own]
    assert [item["match"] for item in shown["history"]] == [None] * len(past.items) + ["exact"]
    ranked = recommender.recommend(own, target=past.held_out).target
    assert ranked is not None
    assert shown["held_out"]["rank"] == ranked.rank
    assert shown["held_out"]["item_id"] == ranked.item_id
    whole = answer(capsys, small_run, "--user", "user-7")
    assert len(whole["history"]) == len(past.items) + 1
    assert whole["held_out"] is None


def test_seen_items_are_left_out_only_when_asked(small_run: Path, capsys: Capture) -> None:
    args = ("--item", "I05", "--item", "I06", "--top-k", "99")
    kept = [item["item_id"] for item in answer(capsys, small_run, *args)["items"]]
    assert kept == [
        i["item_id"] for i in answer(capsys, small_run, *args, "--seen", "gain")["items"]
    ]
    assert len(kept) == len(TITLES)
    left = [i["item_id"] for i in answer(capsys, small_run, *args, "--exclude-seen")["items"]]
    assert left == [item for item in kept if item not in ("I05", "I06")]


def test_people_read_what_matched_what_woke_and_what_won(small_run: Path, capsys: Capture) -> None:
    typed = ["--title", "petg filamnt spool", "--title", "brand new thing", "--item", "I00"]
    assert main(["recommend", str(small_run), *typed, "--top-k", "3"]) == 0
    said = capsys.readouterr()
    assert "load the text encoder hashing:32" in said.err
    found = Recommender.load(small_run).recommend([12, NewTitle("brand new thing"), 0], 3)
    history, interests, items = (
        said.out.index(t) for t in ("activates", "strength", "recommendations")
    )
    assert history < interests < items
    rows = said.out[history:interests]
    assert "near (97%) 'petg filamnt spool'" in rows
    assert "PETG Filament Spool" in rows
    assert "new" in rows[rows.index("brand new thing") :]
    assert "by id" in rows[rows.index(TITLES[0]) :]
    for capsule in found.capsules:
        assert f"{capsule.strength:.3f}" in said.out[interests:items]
    for item in found.items:
        assert f"{item.score:.3f}" in said.out[items:]
    assert f"{found.items[0].capsule}: " in said.out[items:]


def test_interests_that_win_nothing_high_show_their_best(small_run: Path, capsys: Capture) -> None:
    recommender = Recommender.load(small_run)
    found = recommender.recommend([0, 9, 18, NewTitle("new glove")], 1)
    further = next(c for c in found.capsules if c.capsule != found.items[0].capsule)
    assert further.strength > 0.1
    args = ["--item", "I00", "--item", "I09", "--item", "I18"]
    args += ["--title", "new glove", "--top-k", "1"]
    assert main(["recommend", str(small_run), *args]) == 0
    shown = capsys.readouterr().out
    below = shown[shown.index("best items of the other interests") :]
    assert f"{further.best[0].rank} " in below
    assert further.best[0].title[:8] in below


def test_a_held_out_item_that_a_rule_leaves_out_is_told_as_that(
    capsys: Capture, small_run: Path, tmp_path: Path
) -> None:
    """It is not in the history, so the message doesn't say so."""
    recommender = Recommender.load(small_run)
    held_out = recommender.user_history("user-12", "test").held_out
    assert held_out is not None
    denied = tmp_path / "denied.txt"
    denied.write_text(recommender.item_id(held_out))
    asked = ["recommend", str(small_run), "--user", "user-12", "--held-out", "--seen", "as-printed"]
    assert main([*asked, "--deny", str(denied)]) == 0
    assert "none: the seen rule or another rule leaves it out" in capsys.readouterr().out


def test_a_long_history_is_cut_and_says_so(small_run: Path, capsys: Capture) -> None:
    assert main(["recommend", str(small_run), "--user", "user-12", "--held-out"]) == 0
    said = capsys.readouterr()
    assert f"reads the newest {MAX_LENGTH} items; 5 older items are left out" in said.err
    target = Recommender.load(small_run).recommend(
        Recommender.load(small_run).user_history("user-12", "test").items,
        target=Recommender.load(small_run).user_history("user-12", "test").held_out,
    )
    assert target.target is not None
    assert f"rank      {target.target.rank}" in said.out


def test_hostile_titles_are_shown_as_text(small_run: Path, capsys: Capture) -> None:
    args = [arg for title in HOSTILE for arg in ("--title", title)]
    assert main(["recommend", str(small_run), *args, "--top-k", "30"]) == 0
    shown = capsys.readouterr().out
    assert "[bold red]Not markup[/bold red]" in shown.replace("\n", " ")
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert "打印机" in shown
    assert shown.count("x") < 3000  # a title of 10,000 characters is cut
    exact = answer(capsys, small_run, *args)["history"]
    assert [own["title"] for own in exact] == HOSTILE


def test_a_narrow_terminal_keeps_every_column(
    small_run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miracle_cli.output._PIPE_WIDTH", 60)
    assert main(["recommend", str(small_run), "--item", "I00", "--top-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60
    assert [line for line in lines if line.split() == ["rank", "item", "score", "interest"]]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], "there is no history"),
        (["--held-out", "--item", "I00"], "needs a user"),
        (["--item", "i00"], "did you mean I00?"),
        (["--user", "usr-3"], "did you mean user-3?"),
        (["--user", "user-1", "--held-out"], "none is held out"),
        (["--title", " "], "a title is empty"),
        (["--title", "bad \udcff"], "is not UTF-8 text"),
        (["--item", "I00", "--top-k", "0"], "top-k"),
        (["--itm", "I00"], "--itm"),
    ],
)
def test_bad_input_is_told(
    small_run: Path, capsys: Capture, args: list[str], expected: str
) -> None:
    assert expected in fails(capsys, small_run, *args)


def test_a_damaged_run_is_told(small_run: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "is not a run folder" in fails(capsys, tmp_path, "--item", "I00")
    for seed in (2023, 2024, 2025, 2026):  # the folders that train --seeds leaves
        (tmp_path / f"several/seed-{seed}").mkdir(parents=True)
        (tmp_path / f"several/seed-{seed}/config.toml").touch()
    told = " ".join(fails(capsys, tmp_path / "several", "--item", "I00").split())
    assert f"name a run that is in it: {tmp_path}/several/seed-2023," in told
    assert "seed-2025 (1 more)" in told and "train one" not in told
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    (run / "data" / "items.parquet").write_bytes(b"PAR1")
    assert "items.parquet" in fails(capsys, run, "--item", "I00")
