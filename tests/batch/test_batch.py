"""Write recommendations for many users: contents, kills, several processes, bad requests."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from miracle_core.batch import all_users, json_requests, named_users, recommend_batch, sources
from miracle_core.batch.parts import Parts
from miracle_core.batch.requests import parsed
from miracle_core.errors import InputError, MiracleError
from miracle_core.recommender import NewTitle, Recommender, Rules
from tests.support.runs import LENGTHS, TITLES
from tests.support.warm import Warm

COLUMNS = ["user_id", "rank", "item_id", "title", "score", "interest", "label"]


@pytest.fixture(scope="module")
def recommender(small_run: Path) -> Recommender:
    return Recommender.load(small_run)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PART", 5)


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    with Warm("tests.batch.jobs") as process:
        yield process


def test_all_users_in_every_format(
    recommender: Recommender, small_parts: None, tmp_path: Path
) -> None:
    expected = recommender.recommend_users(top_k=4).table()
    assert expected.columns == COLUMNS
    for name in ("recs.parquet", "recs.csv", "recs.jsonl", "folder"):
        found = recommend_batch(recommender, all_users(recommender), tmp_path / name, top_k=4)
        assert (found.requests, found.users, found.rows) == (13, 13, 52)
        assert not found.problems and not found.resumed
    schema = expected.schema
    tables = {
        "parquet": pl.read_parquet(tmp_path / "recs.parquet"),
        "csv": pl.read_csv(tmp_path / "recs.csv", schema_overrides=schema),
        "jsonl": pl.read_ndjson(tmp_path / "recs.jsonl", schema=schema),
        "folder": pl.read_parquet(tmp_path / "folder" / "*.parquet"),
    }
    for name, table in tables.items():
        assert_frame_equal(table, expected, rel_tol=1e-4, abs_tol=1e-5), name
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == [
        f"part-{number:05}.parquet" for number in range(3)
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "folder",
        "recs.csv",
        "recs.jsonl",
        "recs.parquet",
    ]


def test_the_whole_history_counts(recommender: Recommender, tmp_path: Path) -> None:
    """The newest item is read, and it is left out of the recommendations."""
    out = tmp_path / "recs.parquet"
    recommend_batch(recommender, all_users(recommender), out, top_k=99, seen="leave-out")
    table = pl.read_parquet(out)
    for place, length in enumerate(LENGTHS):
        items = recommender.user_history(f"user-{place}").items
        assert len(items) == length
        mine = table.filter(pl.col("user_id") == f"user-{place}")
        had = {recommender.item_id(item) for item in items}
        assert set(mine["item_id"]) == {f"I{n:02}" for n in range(len(TITLES))} - had


def test_killed_anywhere_and_resumed_it_is_the_same_file(
    warm: Warm, small_run: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.parquet"
    assert warm.run("batch", str(small_run), str(whole), 0) == 0
    for at in (1, 2, 3):
        out = tmp_path / f"killed-{at}.parquet"
        assert warm.run("batch", str(small_run), str(out), at) == -signal.SIGKILL
        assert not out.exists()
        done = list((tmp_path / f"{out.name}.parts" / "done").glob("*.json"))
        assert len(done) == at - 1
        assert warm.run("batch", str(small_run), str(out), 0) == (5 if at > 1 else 0)
        assert out.read_bytes() == whole.read_bytes()
        assert not (tmp_path / f"{out.name}.parts").exists()


@pytest.mark.parametrize("name", ["recs.csv", "folder"])
def test_whenever_it_is_killed_old_lists_stay_and_the_next_call_goes_on(
    warm: Warm, tmp_path: Path, name: str
) -> None:
    out, counted = tmp_path / name, tmp_path / "counted"

    def words() -> list[str]:
        files = sorted(out.iterdir()) if out.is_dir() else [out]
        tables = [pl.read_parquet(f) if f.suffix == ".parquet" else pl.read_csv(f) for f in files]
        return pl.concat(tables)["word"].to_list()

    assert warm.run("lists", str(out), "old", 0, str(counted)) == 0
    for at in range(1, int(counted.read_text()) + 1, 7):  # each is a process
        before = words()
        assert warm.run("lists", str(out), f"word {at}", at, str(counted)) == -signal.SIGKILL
        assert words() in (before, [f"word {at}"] * 2), at
        if at % 2 == 0:
            assert warm.run("lists", str(out), f"word {at}", 0, str(counted)) == 0
            assert words() == [f"word {at}"] * 2
            assert not out.with_name(f"{name}.parts").exists()


def test_a_link_to_a_folder_of_lists_stays(
    recommender: Recommender, small_parts: None, tmp_path: Path
) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "out").symlink_to("large")
    recommend_batch(recommender, all_users(recommender), tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert len(list((tmp_path / "large").glob("part-*.parquet"))) == 3
    assert not (tmp_path / "out.parts").exists()


def test_parts_that_were_removed_or_damaged(
    recommender: Recommender,
    small_parts: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, source = tmp_path / "recs.parquet", all_users(recommender)
    with monkeypatch.context() as patched:
        patched.setattr(Parts, "finish", lambda self: None)
        recommend_batch(recommender, source, out)
    part = tmp_path / "recs.parquet.parts" / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(MiracleError, match="this part was damaged") as error:
        recommend_batch(recommender, source, out)
    assert error.value.where == str(part)
    part.unlink()
    recommend_batch(recommender, source, out)
    assert pl.read_parquet(out).height == 130


@pytest.mark.parametrize("name", ["", ".."])
def test_an_output_needs_a_name(
    recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="has no name of its own"):
        recommend_batch(recommender, all_users(recommender), name)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("text", ['[{{"user_id": {}}}]', '{{"user_id": {}, "history": ["I01"]}}'])
def test_a_number_of_any_length_is_a_bad_request(
    recommender: Recommender, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "requests.json"
    path.write_text(text.format("1" * 5000))
    with pytest.raises(InputError, match="is no request"):
        recommend_batch(recommender, json_requests(recommender, path), tmp_path / "recs.csv")


@pytest.mark.parametrize("name", ["recs.parquet", "recs.csv"])
def test_two_processes_write_the_same_file(
    warm: Warm, small_run: Path, tmp_path: Path, name: str
) -> None:
    one, two = tmp_path / "one" / name, tmp_path / "two" / name
    assert warm.run("batch", str(small_run), str(one), 0) == 0
    assert warm.together(2, "batch", str(small_run), str(two), 0) == [0, 0]
    assert two.read_bytes() == one.read_bytes()
    users = tmp_path / "users.txt"
    users.write_text("user-1\nuser-2\nuser-3\nnobody\n")
    codes = warm.together(2, "refused", str(small_run), str(tmp_path / "bad.csv"), str(users))
    assert sorted(codes) == [2, 3]


def test_another_question_starts_over(
    recommender: Recommender, small_parts: None, tmp_path: Path
) -> None:
    out = tmp_path / "recs.csv"

    class Stopping:
        def start(self, *_: object) -> None: ...
        def finish(self) -> None: ...
        def advance(self, amount: int) -> None:
            raise KeyboardInterrupt

    source = all_users(recommender)
    with pytest.raises(KeyboardInterrupt):
        recommend_batch(recommender, source, out, top_k=4, progress=Stopping())
    told: list[str] = []
    again = recommend_batch(recommender, source, out, top_k=3, told=told.append)
    assert (again.rows, again.resumed, told) == (39, False, [])
    with pytest.raises(KeyboardInterrupt):
        recommend_batch(recommender, source, out, top_k=4, progress=Stopping())
    again = recommend_batch(recommender, source, out, top_k=4, told=told.append)
    assert (again.rows, again.resumed) == (52, True)
    assert told == ["going on; parts that are there already: 1"]


def test_users_of_a_file(recommender: Recommender, tmp_path: Path) -> None:
    file, out = tmp_path / "users.txt", tmp_path / "recs.parquet"
    file.write_bytes(b"user-7\n\n  user-2 \nuser7\nuser-7\ncaf\xe9\n")
    with pytest.raises(InputError, match="no user 'user7'") as error:
        recommend_batch(recommender, named_users(recommender, file), out)
    assert error.value.where == f"{file}:4" and "user-7" in str(error.value.remedy)
    assert not out.exists()
    found = recommend_batch(recommender, named_users(recommender, file), out, on_error="skip")
    assert (found.requests, found.users) == (5, 2)
    assert [problem.where for problem in found.problems] == [f"{file}:{n}" for n in (4, 5, 6)]
    assert found.problems[2].what == "is not UTF-8 text"
    assert "twice" in found.problems[1].what
    assert pl.read_parquet(out)["user_id"].unique(maintain_order=True).to_list() == [
        "user-7",
        "user-2",
    ]
    # A file without any user id is refused.
    file.write_text("")
    with pytest.raises(InputError, match="holds no user id"):
        named_users(recommender, file)


REQUESTS = """{"user_id": "new customer", "history": ["I03", {"title": "Ceramic mug"}]}
{"user_id": "user-3"}
{"history": [{"item_id": "I05"}, {"title": "latex exam glove"}]}
"""
BAD = [
    ('{"user_id": "nobody"}', "no user 'nobody'", ""),
    ('{"history": ["I3"]}', "no item 'I3'", ", item 1"),
    ('{"history": []}', "history is empty", ""),
    ("{}", "neither a user nor a history", ""),
    ('{"user": "user-3"}', "'user' is no part of a request", ""),
    ('{"history": ["I01"', "is no request", ""),
    ('{"history": [{"title": " "}]}', "title is empty", ", item 1"),
    ('{"history": [3]}', "is no request", ""),
    ("[1, 2]", "is no request", ""),
    ("null", "is no request", ""),
    ('{"user_id": 5}', "is no request", ""),
    ('{"user_id": "\\ud800"}', "is no request", ""),
    ('{"history": [null]}', "is no request", ""),
    ('{"history": [{"title": "x", "item_id": "I01"}]}', "is no request", ""),
    ('{"history": ["I01"], "top_k": 3}', "'top_k' is no part of a request", ""),
    ('{"history": ["I01", {"title": "x", "foo": 1}]}', "'foo' is no part of an item", ", item 2"),
    ('{"history": [{"titel": "x"}]}', "'titel' is no part of an item", ", item 1"),
    ('{"history": [{}]}', "is no request", ""),
    ("[" * 5000, "is no request", ""),
    ("\udcff\udcfe", "is not UTF-8 text", ""),
    ('{"user_id": "user-\udce9"}', "is not UTF-8 text", ""),
]


def test_json_requests(recommender: Recommender, tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    documents = [json.loads(line) for line in REQUESTS.splitlines()]
    wanted = recommender.recommend(
        [[3, NewTitle("Ceramic mug")], list(recommender.user_history("user-3").items), [5, 4]], 4
    ).table()
    wanted = wanted.with_columns(
        pl.col("user_id").replace({"0": "new customer", "1": "user-3", "2": "3"})
    )
    for text in (REQUESTS, json.dumps(documents, indent=2), f"\n{REQUESTS}\n"):
        file.write_text(text)
        out = tmp_path / "recs.parquet"
        recommend_batch(recommender, json_requests(recommender, file), out, top_k=4)
        found = pl.read_parquet(out)
        if text.startswith("\n"):
            wanted = wanted.with_columns(pl.col("user_id").replace({"3": "4"}))
        assert_frame_equal(found, wanted, rel_tol=1e-4, abs_tol=1e-5)
        file.write_text("")
    (part,) = json_requests(recommender, None, io.StringIO('{"history": ["I01"]}')).parts(
        lambda number: True
    )
    assert part.user_ids == ("1",) and list(part.histories.items) == [1]
    with pytest.raises(InputError, match="holds no request"):
        list(json_requests(recommender, None, io.StringIO("\n")).parts(lambda number: True))


@pytest.mark.parametrize(("line", "what", "where"), BAD)
def test_a_bad_request_is_told_and_the_rest_go_on(
    recommender: Recommender, tmp_path: Path, line: str, what: str, where: str
) -> None:
    file, out = tmp_path / "requests.jsonl", tmp_path / "recs.jsonl"
    text = f'{{"user_id": "user-3"}}\n{line}\n{{"user_id": "user-4"}}\n'
    file.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError, match=what) as error:
        recommend_batch(recommender, json_requests(recommender, file), out)
    assert error.value.where == f"{file}:2{where}"
    source = json_requests(recommender, file)
    found = recommend_batch(recommender, source, out, on_error="skip", top_k=2)
    assert (found.requests, found.users, found.rows, len(found.problems)) == (3, 2, 4, 1)


def test_a_user_of_two_requests_is_told(
    recommender: Recommender, small_parts: None, tmp_path: Path
) -> None:
    """Rows are identified by the user, so two lists of one user would be mixed. Parts are small."""
    file, out = tmp_path / "requests.jsonl", tmp_path / "recs.parquet"
    users = [f"user-{place}" for place in range(13)]
    lines = [json.dumps({"user_id": user}) for user in users]
    lines += ['{"user_id": "user-1", "history": ["I03"]}', '{"user_id": "16", "history": ["I04"]}']
    lines.append('{"history": ["I05"]}')  # named by its line, 16
    file.write_text("\n".join(lines))
    with pytest.raises(InputError, match="user 'user-1' is named twice") as error:
        recommend_batch(recommender, json_requests(recommender, file), out)
    assert error.value.where == f"{file}:14" and "two names" in str(error.value.remedy)
    source = json_requests(recommender, file)
    found = recommend_batch(recommender, source, out, on_error="skip", top_k=2)
    assert (found.requests, found.users) == (16, 14)
    assert [problem.where for problem in found.problems] == [f"{file}:14", f"{file}:16"]
    assert pl.read_parquet(out)["user_id"].unique(maintain_order=True).to_list() == [*users, "16"]
    # A process that has only the last part still knows the users of the other parts.
    (part,) = json_requests(recommender, file).parts(lambda number: number == 3)
    assert [problem.where for problem in part.problems] == [f"{file}:16"]


GLOVE = '{"user_id": "me", "history": [{"title": "a glove"}]}'
MUG = '{"user_id": "me", "history": ["I05"]}'


@pytest.mark.parametrize(
    ("lines", "bad"),
    [
        (['{"user_id": "me", "history": ["I99"]}', MUG, MUG], {1: "no item", 3: "twice"}),
        (['{"user_id": "me"}', GLOVE, MUG], {1: "no user", 3: "twice"}),
        (['{"user_id": "me", "history": []}', MUG, GLOVE], {1: "empty", 3: "twice"}),
        (
            ['{"user_id": "me", "history": [{"title": " "}]}', GLOVE, GLOVE],
            {1: "title is empty", 3: "twice"},
        ),
        (['{"user_id": "me", "story": 1}', GLOVE, MUG], {1: "no part", 3: "twice"}),
        # A request without a user id is named by its line number.
        (['{"history": ["I99"]}', '{"user_id": "1", "history": ["I05"]}'], {1: "no item"}),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_bad_request_is_none_that_its_user_has(
    recommender: Recommender,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lines: list[str],
    bad: dict[int, str],
    alone: bool,
) -> None:
    """The user's first valid request is answered, also if each part has its own process."""
    monkeypatch.setattr(sources, "PART", 1 if alone else 99)
    file = tmp_path / "requests.jsonl"
    file.write_text("\n".join(lines))
    source, found = json_requests(recommender, file), []
    for own in range(len(lines)) if alone else (0,):
        found += source.parts(lambda number, own=own: number == own)
    problems = [problem for part in found for problem in part.problems]
    assert len(problems) == len(bad)
    for problem, (line, what) in zip(problems, bad.items(), strict=True):
        assert problem.where.startswith(f"{file}:{line}") and what in problem.what
    assert [user for part in found for user in part.user_ids] == ["1" if len(bad) == 1 else "me"]


def test_titles_of_another_process_are_looked_up_if_their_user_comes_again(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sources, "PART", 1)
    file, looked_up = tmp_path / "requests.jsonl", []
    file.write_text("\n".join([GLOVE, GLOVE.replace("me", "you"), MUG]))
    match = type(recommender).match

    def counted(own: Recommender, query: str, limit: int = 1) -> object:
        looked_up.append(query)
        return match(own, query, limit)

    monkeypatch.setattr(type(recommender), "match", counted)
    for own, times in ((0, 1), (1, 2), (2, 1)):
        looked_up.clear()
        list(json_requests(recommender, file).parts(lambda number, own=own: number == own))
        assert len(looked_up) == times


@pytest.mark.parametrize("why", ["no text is read", "the encoder is gone"])
def test_a_new_title_that_can_not_be_read_is_one_bad_request(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """It is found once, and before its part is asked as a whole."""
    recommender, tried = Recommender.load(small_run), []

    def gone(*_: object) -> None:
        tried.append(1)
        raise InputError("it is gone")

    if why == "no text is read":
        monkeypatch.setattr(recommender._vectors, "_new_titles", None)
    else:
        monkeypatch.setattr("miracle_core.recommender.new_titles.reload_encoder", gone)
    file, out = tmp_path / "requests.jsonl", tmp_path / "recs.jsonl"
    new, known = '{"history": [{"title": "Something new"}]}', '{"history": [{"title": "%s"}]}'
    file.write_text("\n".join([known % recommender.title(3), new, new, '{"user_id": "user-3"}']))
    found = recommend_batch(recommender, json_requests(recommender, file), out, on_error="skip")
    assert (found.requests, found.users, len(found.problems)) == (4, 2, 2)
    assert [each.where for each in found.problems] == [f"{file}:{n}, item 1" for n in (2, 3)]
    assert len(tried) == (why == "the encoder is gone")
    with pytest.raises(InputError, match="new"):
        recommend_batch(recommender, json_requests(recommender, file), out)


def test_a_misspelt_name_is_told_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no part of a request") as error:
        parsed('{"histroy": ["I01"]}')
    assert error.value.remedy == "did you mean history?"
    with pytest.raises(InputError, match="no part of an item of a history") as error:
        parsed('{"user_id": "ann", "history": [{"titel": "x"}]}')
    assert error.value.remedy == "did you mean title?"


def test_where_it_can_not_be_written(recommender: Recommender, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep me")
    (tmp_path / "dir.csv").mkdir()
    (tmp_path / "taken.csv.parts").mkdir()
    (tmp_path / "taken.csv.parts" / "mine").write_text("keep me")
    (tmp_path / "file.csv.parts").write_text("keep me")
    (tmp_path / "link.csv.parts").symlink_to("full")
    for name, what in [
        ("file.csv", "holds something else"),
        ("link.csv", "holds something else"),
        ("recs.xlsx", "in which format"),
        ("full", "something else than parts"),
        ("dir.csv", "is a folder"),
        ("taken.csv", "holds something else"),
    ]:
        with pytest.raises(InputError, match=what):
            recommend_batch(recommender, all_users(recommender), tmp_path / name)
    assert (tmp_path / "full" / "mine.txt").read_text() == "keep me"
    assert (tmp_path / "taken.csv.parts" / "mine").read_text() == "keep me"


@pytest.mark.parametrize("name", ["keep.csv", "keep"])
def test_lists_of_nobody_never_replace_good_ones(
    small_run: Path, small_parts: None, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    plain = Recommender.load(small_run)
    recommend_batch(plain, all_users(plain), out)
    files = [out] if out.is_file() else sorted(out.iterdir())
    before = [file.read_bytes() for file in files]
    strict = Recommender.load(small_run, rules=Rules(min_strength=0.9999))
    with pytest.raises(InputError, match="none of the 13 users has a list") as error:
        recommend_batch(strict, all_users(strict), out)
    assert str(out) in error.value.what
    assert error.value.where == "rules: min_strength"
    assert error.value.remedy == "loosen them"
    requests = tmp_path / "requests.jsonl"
    requests.write_text('{"user_id": "nobody"}\n{"user_id": "no one"}\n')
    with pytest.raises(InputError, match="none of the 2 users has a list") as error:
        recommend_batch(plain, json_requests(plain, requests), out, on_error="skip")
    assert "there is no user 'nobody'" in str(error.value.remedy)
    with pytest.raises(InputError, match="none of the 13 users"):
        recommend_batch(strict, all_users(strict), tmp_path / "new.csv")
    assert [file.read_bytes() for file in files] == before
    assert sorted(tmp_path.iterdir()) == sorted([out, requests])
