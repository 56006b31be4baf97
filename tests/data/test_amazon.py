"""The layouts of Amazon 2018 and 2023, and of files like Steam's."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers import ReadOptions, read
from tests.data.support import (
    ITEMS,
    META_2023,
    RATED,
    USERS,
    lines,
    meta,
    refused,
    reviews,
    write,
)

EVENTS_2018 = [(USERS[0], ITEMS[0], 1400000000), (USERS[1], ITEMS[1], 1399999999)]


def check_2018(found: Interactions) -> None:
    assert found.events.rows() == EVENTS_2018
    assert found.items.drop("domain").rows() == [
        (ITEMS[0], "Blue Tape", "Blue Tape. Industrial & Scientific Tapes. 3M"),
        (ITEMS[1], "Glue [red]stick", "Glue [red]stick"),
    ]
    # The third item has no row in the meta file.
    assert [step["interactions"] for step in found.steps] == [3, 2]
    assert found.steps[1]["step"] == "items without text dropped"


class TestAmazon2018:
    def test_reviews_as_json_lines(self, tmp_path: Path) -> None:
        paths = write(
            tmp_path,
            Tapes_5__json__gz=gzip.compress(lines(*reviews())),
            meta_Tapes__json__gz=gzip.compress(meta()),
        )
        for form in ("amazon2018", "auto"):
            found = read(form, paths)
            check_2018(found)
            assert found.name == "Tapes"
        assert "amazon2018" in found.notes[0]
        assert read("amazon2018", paths, RATED).events["rating"].to_list() == [4.0, 5.0]

    @pytest.mark.parametrize("order", ["user-first", "item-first"])
    def test_ratings_in_either_order(self, tmp_path: Path, order: str) -> None:
        rows = ""
        for row in reviews():
            pair = [row["reviewerID"], row["asin"]]
            pair = pair if order == "user-first" else pair[::-1]
            rows += f"{','.join(pair)},{row['overall']},{row['unixReviewTime']}\n"
        paths = write(tmp_path, Tapes__csv=rows.encode(), meta_Tapes__json=meta())
        for form in ("amazon2018", "auto"):
            found = read(form, paths)
            check_2018(found)
            assert f"Tapes.csv: ratings, {order.replace('-', ' ')}" in found.notes
        assert read("amazon2018", paths, RATED).events["rating"].to_list() == [4.0, 5.0]

    def test_an_order_that_cant_be_told_must_be_said(self, tmp_path: Path) -> None:
        paths = write(tmp_path, r__csv=b"u,B00004Z5M1,5,3\nB00004Z5M1,w,4,2\n", meta_r__json=meta())
        error = refused("amazon2018", paths)
        assert (error.where, "--order" in (error.remedy or "")) == (f"{paths[0]}:1", True)
        found = read("amazon2018", paths, ReadOptions(order="user-first"))
        assert found.events.rows() == [("u", "B00004Z5M1", 3)]

    def test_older_files_are_python_literals(self, tmp_path: Path) -> None:
        old = (
            "{'asin': '%s', 'categories': [['Home', 'Tapes'], ['Home', 'Blue']], 'price': 4.99, "
            "'title': \"It's \\\"blue\\\" \\u00e9\\xe9\\n\", 'related': {'a': ['x']}, 'n': None}\n"
            "{u'asin': u'%s', u'title': u'Glue \\'n\\' stick \\ud83d\\ude00', 'ok': True}\n"
        )
        events = "".join(f"{row!r}\n" for row in reviews())
        paths = write(
            tmp_path, Tapes__json=events.encode(), meta_T__json=(old % tuple(ITEMS[:2])).encode()
        )
        found = read("auto", paths)
        assert found.events.rows() == EVENTS_2018
        assert found.items["text"].to_list() == [
            'It\'s "blue" éé. Home Tapes Blue',
            "Glue 'n' stick \U0001f600",
        ]

    @pytest.mark.parametrize(
        "line",
        [
            b"{'asin': __import__('os').system('true'), 'title': 'x'}",
            b"{'asin': 'a' + 'b', 'title': 'x'}",
            b"{'asin': ('a',), 'title': 'x'}",
            b"{'asin': 'a, 'title': 'x'}",
        ],
    )
    def test_literals_are_never_evaluated(self, tmp_path: Path, line: bytes) -> None:
        good = b"{'asin': 'a', 'title': 'x'}\n"
        events = lines(*reviews())
        paths = write(tmp_path, r__json=events, meta_r__json=good + line + b"\n")
        assert refused("amazon2018", paths).where == f"{paths[1]}:2"

    def test_a_block_that_is_not_sound_is_read_line_by_line(self, tmp_path: Path) -> None:
        # Blank lines, a title that is a number or a list, a brand that is null, a byte order mark.
        odd = b"\xef\xbb\xbf\n" + lines(
            {"asin": ITEMS[0], "title": 7, "brand": None},
            {"asin": ITEMS[1], "title": ["A", "B"], "category": "Home"},
        ).replace(b"\n", b"\r\n\r\n")
        found = read("amazon2018", write(tmp_path, r__json=lines(*reviews()), m__json=odd))
        assert found.items["text"].to_list() == ["7", "A B. Home"]

    def test_an_item_that_is_there_twice_counts_once(self, tmp_path: Path) -> None:
        more = meta(title="Another") + lines({"asin": "unsold", "title": "Nobody's"})
        paths = write(tmp_path, r__json=lines(*reviews()), m__json=meta() + more)
        found = read("amazon2018", paths)
        check_2018(found)
        assert "2 items" in found.notes[0]

    @pytest.mark.parametrize(
        ("line", "what"),
        [
            (b'{"reviewerID": "u", "asin"', "is not JSON"),
            (b"[1, 2]", "is not a JSON object"),
            (b'{"reviewerID": "u\xff", "asin": "a", "unixReviewTime": 3}', "is no"),
            (b'{"reviewerID": "u", "asin": "a", "unixReviewTime": "soon"}', "'unixReviewTime'"),
            (b'{"reviewerID": "u", "asin": "a", "unixReviewTime": 3.5}', "'unixReviewTime'"),
            (b'{"reviewerID": "u", "asin": {"a": 1}, "unixReviewTime": 3}', "'asin'"),
            (b'{"reviewerID": "u", "asin": "a"}', "has no time"),
            (b'{"asin": "a", "unixReviewTime": 3}', "has no user_id"),
            (b'{"reviewerID": "u\0", "asin": "a", "unixReviewTime": 3', "is not JSON"),
            (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"," + b'"asin": 1', "is not JSON"),
        ],
    )
    def test_bad_lines_are_named_or_counted(self, tmp_path: Path, line: bytes, what: str) -> None:
        rows = lines(*reviews())
        head, tail = rows.split(b"\n", 1)
        paths = write(tmp_path, r__json=head + b"\n" + line + b"\n" + tail, meta_r__json=meta())
        error = refused("amazon2018", paths)
        assert error.where == f"{paths[0]}:2"
        assert what in error.what
        found = read("amazon2018", paths, ReadOptions(on_error="skip"))
        check_2018(found)
        (skipped,) = found.skipped
        assert (skipped["rows"], skipped["first"]) == (1, "r.json:2")

    def test_deep_json_in_a_field_nobody_reads(self, tmp_path: Path) -> None:
        deep = b'{"x": ' + b'{"y": [' * 50_000 + b"]}" * 50_000 + b', "asin": "q", "title": "t"}\n'
        paths = write(tmp_path, r__json=lines(*reviews()), meta_r__json=meta() + deep)
        assert read("amazon2018", paths).items.height == 2

    def test_what_is_missing_is_said(self, tmp_path: Path) -> None:
        paths = write(tmp_path, r__json=lines(*reviews()), meta_r__json=meta(), notes__md=b"# hi\n")
        assert "no file of items" in refused("amazon2018", paths[:1]).what
        assert "no file of interactions" in refused("amazon2018", paths[1:2]).what
        assert refused("amazon2018", paths).where == str(paths[2])
        check_2018(read("amazon2018", [tmp_path]))  # in a folder, it is ignored
        assert "user" in refused("amazon2018", paths[:2], ReadOptions(user="x")).what


class TestAmazon2023:
    @pytest.mark.parametrize("kind", ["json", "csv"])
    def test_reviews_and_ratings(self, tmp_path: Path, kind: str) -> None:
        rows = [("U1", "B1", 5.0, 1588687728923), ("U1", "B2", 3.0, 1588687728922)]
        review = lines(
            *(
                {"user_id": u, "asin": "v", "parent_asin": p, "rating": r, "timestamp": t}
                for u, p, r, t in rows
            )
        )
        table = "user_id,parent_asin,rating,timestamp\n" + "".join(
            f"{u},{p},{r},{t}\n" for u, p, r, t in rows
        )
        events = {"Home__jsonl": review} if kind == "json" else {"Home__csv": table.encode()}
        paths = write(tmp_path, **events, meta_Home__jsonl=META_2023)
        for form in ("amazon2023", "auto"):
            found = read(form, paths, RATED)
            assert found.events.select("user_id", "item_id", "rating", "time").rows() == rows
            assert found.items["text"].to_list() == ["Lamp. Home Light. Lux", "Mug"]
            assert found.name == "Home"
        assert "rating" not in read("amazon2023", paths).events.columns


class TestSteam:
    def test_literals_and_json(self, tmp_path: Path) -> None:
        reviews = [
            {"username": "Chaos", "product_id": "35140", "date": "2018-01-02", "text": "it's"},
            {"username": "Chaos", "product_id": "70", "date": "2017-05-01", "hours": 3.5},
        ]
        games = [
            {"publisher": "E", "genres": ["Action"], "app_name": "Bat", "id": "35140"},
            {"app_name": "Half", "tags": ["FPS", "Classic"], "id": "70", "developer": "V"},
        ]
        for written in (json.dumps, lambda row: repr(row).replace("'username'", "u'username'")):
            files = {
                f"{name}__json": "".join(f"{written(row)}\n" for row in rows).encode()
                for name, rows in (("steam_reviews", reviews), ("steam_games", games))
            }
            found = read("auto", write(tmp_path, **files))
            assert found.events["item_id"].to_list() == ["35140", "70"]
            assert found.events["time"].is_sorted(descending=True)
            assert found.items["text"].to_list() == ["Bat. Action. E", "Half. FPS Classic. V"]
            assert found.reading == {"format": "steam"}
