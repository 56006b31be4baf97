"""``miracle recommend --users`` and ``--history``, and rules on the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest

from miracle_cli.main import main
from miracle_cli.rules import RuleOptions
from miracle_core.recommender import NewTitle, Recommender, Rules

Capture = pytest.CaptureFixture[str]


def fails(capsys: Capture, *args: str | Path) -> str:
    assert main([*map(str, args)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_all_users_to_a_file(small_run: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "recs.parquet"
    words = ["recommend", str(small_run), "--users", "all", "--out", str(out), "--top-k", "3"]
    assert main([*words, "--seen", "leave-out", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["users"], summary["rows"], summary["problems"]) == (13, 39, [])
    expected = Recommender.load(small_run).recommend_users(None, 3, "leave-out").table()
    found = pl.read_parquet(out)
    assert found["item_id"].to_list() == expected["item_id"].to_list()
    assert main(words) == 0
    assert "39" in capsys.readouterr().out


def test_requests_from_standard_input(
    small_run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = '{"user_id": "me", "history": ["I03", {"title": "a glove"}]}\n{"history": ["I99"]}\n'
    monkeypatch.setattr("sys.stdin", io.StringIO(asked))
    words = ["recommend", str(small_run), "--history", "-", "--top-k", "4"]
    assert main([*words, "--on-error", "skip"]) == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in said.out.splitlines()]
    found = Recommender.load(small_run).recommend([3, NewTitle("a glove")], 4).items
    assert [row["item_id"] for row in rows] == [item.item_id for item in found]
    assert {row["user_id"] for row in rows} == {"me"}
    assert "standard input:2, item 1: there is no item 'I99'" in said.err
    monkeypatch.setattr("sys.stdin", io.StringIO('{"history": ["I99"]}'))
    assert "no item 'I99'" in fails(capsys, *words)


@pytest.mark.parametrize("given", ["", "\n  \n", "[]", "[\n]\n"])
@pytest.mark.parametrize("out", [[], ["--out", "recs.csv"]])
@pytest.mark.parametrize("skip", [[], ["--on-error", "skip"]])
def test_input_without_a_request_is_refused(
    small_run: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    out: list[str],
    skip: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "requests.jsonl"
    file.write_text(given)
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    for name, where in (("-", "standard input"), (file.name, file.name)):
        told = fails(capsys, "recommend", small_run, "--history", name, *out, *skip)
        assert "error: holds no request\n" in told and f"where: {where}\n" in told
    assert not Path("recs.csv").exists()


def test_printed_lists_of_nobody_are_refused(
    small_run: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["recommend", str(small_run), "--history", "-"]
    monkeypatch.setattr("sys.stdin", io.StringIO('{"history": ["I99"]}'))
    told = fails(capsys, *words, "--on-error", "skip")
    assert "none of the 1 users has a list" in told and "no item 'I99'" in told
    monkeypatch.setattr("sys.stdin", io.StringIO('{"history": ["I03"]}'))
    told = fails(capsys, *words, "--min-strength", "0.9999")
    assert "nothing is written to standard output\nwhere: --min-strength 0.9999\n" in told


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--users", "all"], "go to a file"),
        (["--out", "a.csv"], "whose lists?"),
        (["--users", "all", "--history", "x", "--out", "a.csv"], "two sources"),
        (["--users", "all", "--out", "a.csv", "--user", "user-1"], "is of one history"),
        (["--users", "all", "--out", "a.csv", "--index"], "is of one history"),
        (["--users", "all", "--out", "a.xlsx"], "in which format"),
        (["--users", "nowhere.txt", "--out", "a.csv"], "can't be read"),
        (["--history", "-", "--json"], "printed, as JSON lines"),
        (["--title", "x", "--where", "brand"], "names no value"),
        (["--title", "x", "--allow", "nowhere.txt"], "can't be read"),
        (["--title", "x", "--diversity", "1"], "add --diverse-by"),
        (["--title", "x", "--min-strength", "1"], "must be below 1"),
        (["--title", "x", "--boost", "0=1e39"], "between -1000 and 1000"),
        (["--title", "x", "--boost", "0=.1", "--boost", "00=0.2"], "--boost 0=.1 --boost 00=0.2"),
        (["--title", "x", "--diversity", "1e39", "--diverse-by", "brand"], "at most 1000"),
        (["--title", "x", "--where", "brand=b"], "has an attribute"),
    ],
)
def test_what_does_not_go_together(
    small_run: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    what: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert what in fails(capsys, "recommend", small_run, *options)
    assert not list(tmp_path.iterdir())


def test_rules_are_the_same_everywhere(small_run: Path, tmp_path: Path, capsys: Capture) -> None:
    deny = tmp_path / "sold-out.txt"
    deny.write_text("I00\nI01\n\nno-such-item\n")
    options = ["--deny", str(deny), "--quota", "1", "--mute", "2", "--min-strength", "0.1"]
    options += ["--boost", "3=0.25", "--boost", "1=-0.1"]
    boost = {3: 0.25, 1: -0.1}
    rules = Rules(deny=("I00", "I01"), quota=1, mute=(2,), boost=boost, min_strength=0.1)
    recommender = Recommender.load(small_run, rules=rules)
    words = ["recommend", str(small_run), "--user", "user-9", *options]
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert "deny: the catalogue has no item 'no-such-item'" in said.err
    told = json.loads(said.out)
    expected = recommender.recommend(recommender.user_history("user-9").items)
    assert [item["item_id"] for item in told["items"]] == [i.item_id for i in expected.items]
    assert told["rules"] == {
        "deny": 3,
        "quota": 1,
        "mute": [2],
        "boost": {"3": 0.25, "1": -0.1},
        "min_strength": 0.1,
    }
    assert [item["boost"] for item in told["items"]] == [item.boost for item in expected.items]
    assert {item["boost"] for item in told["items"]} > {0.0}
    out = tmp_path / "recs.jsonl"
    assert main(["recommend", str(small_run), "--users", "all", "--out", str(out), *options]) == 0
    table = recommender.recommend_users().table()
    assert pl.read_ndjson(out)["item_id"].to_list() == table["item_id"].to_list()


@pytest.mark.parametrize(
    ("options", "typed"),
    [
        ("--diverse-by text", "--diverse-by text"),
        ("--diversity 0.5 --diverse-by text --quota 1", "--quota 1 --diversity 0.5"),
        ("--mute 1 --boost 2=0.5 --boost 1=0.5", "--mute 1 --boost 2=0.5 --boost 1=0.5"),
        ("--boost 1=nan", "--boost 1=nan"),
        ("--mute 3 --mute 99", "--mute 3 --mute 99"),
        ("--quota 1 --deny ids.txt --mute 1", "--deny ids.txt"),
        ("--min-strength 0.9999", "--min-strength 0.9999"),
        ("--diversity 0.5 --diverse-by brand", "--diverse-by brand"),
        ("--quota 1 --where brand=b0 --where shelf=c", "--where brand=b0 --where shelf=c"),
    ],
)
@pytest.mark.parametrize("whose", ["--user user-9", "--users all --out x.csv"])
def test_a_rule_that_cannot_be_kept_is_named_as_typed(
    small_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    whose: str,
    options: str,
    typed: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ids.txt").write_text("\n".join(f"I{n:02}" for n in range(30)))
    told = fails(capsys, "recommend", small_run, *whose.split(), *options.split())
    assert f"where: {typed}\n" in told
    assert "min_strength" not in told and "diverse_by" not in told


def test_an_evaluation_names_a_rule_as_typed(small_run: Path, capsys: Capture) -> None:
    for options in ("--mute 99", "--diversity 2 --diverse-by text"):
        told = fails(capsys, "evaluate", small_run, "--split", "valid", *options.split())
        assert f"where: {options.replace('2', '2.0')}\n" in told


def test_the_price_of_rules(small_run: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ["evaluate", str(small_run), "--split", "valid", "--json"]
    assert main(words) == 0
    plain = json.loads(capsys.readouterr().out)
    deny = tmp_path / "ids.txt"
    deny.write_text("\n".join(f"I{n:02}" for n in range(0, 30, 2)))
    assert main([*words, "--deny", str(deny)]) == 0
    under = json.loads(capsys.readouterr().out)
    assert under["references"] == {"without rules": plain["metrics"]}
    assert under["rules"] == {"deny": 15} and under["metrics"] != plain["metrics"]
    users = tmp_path / "users.parquet"
    for listed in (["--quota", "1"], ["--diversity", "0.1", "--diverse-by", "text"]):
        told = fails(capsys, "evaluate", small_run, *listed, "--save-users", users)
        assert "one rank a user" in told
    for wrong in ("3", "x=1", "3=much"):
        told = fails(capsys, "evaluate", small_run, "--boost", wrong)
        assert "is no capsule and number" in told and "CAPSULE=NUMBER" in told


def test_each_line_of_a_file_is_an_id(tmp_path: Path) -> None:
    """Files have no comments: an id may start with # and contain a line separator."""
    file = tmp_path / "ids.txt"
    file.write_bytes("\n#12\r\n  # sold out  \n\n \na\u2028b\n".encode())
    nothing = dict.fromkeys(RuleOptions._fields)
    for option in ("allow", "deny"):
        rules = RuleOptions(**nothing | {option: file}).rules()
        assert getattr(rules, option) == ("#12", "# sold out", "a\u2028b")


def test_a_byte_order_mark_is_no_part_of_an_id(small_run: Path, tmp_path: Path) -> None:
    users, deny = tmp_path / "users.txt", tmp_path / "deny.txt"
    users.write_text("user-9\nuser-2\n", encoding="utf-8-sig")
    expected = Recommender.load(small_run).recommend_users(["user-9", "user-2"]).table()
    first = expected["item_id"][0]
    deny.write_text(f"{first}\n", encoding="utf-8-sig")
    out = tmp_path / "recs.csv"
    words = ["recommend", str(small_run), "--users", str(users), "--out", str(out)]
    assert main(words) == 0
    assert pl.read_csv(out)["item_id"].to_list() == expected["item_id"].to_list()
    assert main([*words, "--deny", str(deny)]) == 0
    assert first not in pl.read_csv(out)["item_id"].to_list()


def test_many_lists_are_made_on_the_named_device(
    small_run: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "recs.csv"
    words = ["recommend", small_run, "--users", "all", "--out", out, "--device", "cudda"]
    assert "cudda" in fails(capsys, *words)
    assert not out.exists()


def test_an_empty_file_denies_nothing_and_allows_nothing(
    small_run: Path, tmp_path: Path, capsys: Capture
) -> None:
    """On some days nothing is sold out. An empty file of what is allowed is a mistake."""
    file = tmp_path / "ids.txt"
    file.write_text("\n")
    words = ["recommend", str(small_run), "--item", "I00", "--json"]
    assert main(words) == 0
    plain = json.loads(capsys.readouterr().out)
    assert main([*words, "--deny", str(file)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["items"] == plain["items"]
    assert f"--deny {file} holds no id, so it denies nothing" in said.err
    assert "holds no id" in fails(capsys, *words, "--allow", file)
