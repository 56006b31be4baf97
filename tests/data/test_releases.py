"""The published layouts, in small files written by hand from their documentation."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from miracle_core.data.dataset import Dataset
from miracle_core.data.interactions import Interactions
from miracle_core.data.readers import ReadOptions, read
from miracle_core.errors import InputError

RATED = ReadOptions(with_ratings=True)
USERS = ["A2SUAM1J3GNN3B", "AO94DHGC771SJ", "A1KLRMWW2FWPL4"]
ITEMS = ["B00004Z5M1", "0000013714", "B000AAAAA1"]


def lines(*objects: Any) -> bytes:
    return b"".join(json.dumps(entry).encode() + b"\n" for entry in objects)


def write(folder: Path, **files: bytes) -> list[Path]:
    """Files; a double underscore in a name stands for a dot."""
    paths = []
    for name, content in files.items():
        paths.append(folder / name.replace("__", "."))
        paths[-1].write_bytes(content)
    return paths


def refused(format: str, paths: list[Path], options: ReadOptions | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        read(format, paths, options)
    assert caught.value.remedy
    return caught.value


def meta(**changes: Any) -> bytes:
    first = {
        "category": ["Industrial &amp; Scientific", "Tapes"],
        "tech1": "",
        "description": ["long <b>text</b>"],
        "title": "Blue <b>Tape</b>",
        "brand": "3M",
        "price": "$4.99",
        "asin": ITEMS[0],
        "details": {"deep": [[[{}]]]},
    }
    second = {"asin": ITEMS[1], "title": "Glue [red]stick\x1b[31m", "category": [], "brand": ""}
    return lines({**first, **changes}, second)


def reviews() -> list[dict[str, Any]]:
    return [
        {
            "reviewerID": user,
            "asin": item,
            "overall": 4.0 + at,
            "unixReviewTime": 1400000000 - at,
            "vote": "2",
            "style": {"Size:": " L"},
        }
        for at, (user, item) in enumerate(
            [(USERS[0], ITEMS[0]), (USERS[1], ITEMS[1]), (USERS[0], ITEMS[2])]
        )
    ]


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
        # Blank lines, a title that is a number or a list, a brand that is null, a mark.
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
            (b'{"reviewerID": "u", "asin"', "is no JSON"),
            (b"[1, 2]", "is no JSON object"),
            (b'{"reviewerID": "u\xff", "asin": "a", "unixReviewTime": 3}', "is no"),
            (b'{"reviewerID": "u", "asin": "a", "unixReviewTime": "soon"}', "'unixReviewTime'"),
            (b'{"reviewerID": "u", "asin": "a", "unixReviewTime": 3.5}', "'unixReviewTime'"),
            (b'{"reviewerID": "u", "asin": {"a": 1}, "unixReviewTime": 3}', "'asin'"),
            (b'{"reviewerID": "u", "asin": "a"}', "has a time that is no"),
            (b'{"asin": "a", "unixReviewTime": 3}', "has no user_id"),
            (b'{"reviewerID": "u\0", "asin": "a", "unixReviewTime": 3', "is no JSON"),
            (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"," + b'"asin": 1', "is no JSON"),
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
        check_2018(read("amazon2018", [tmp_path]))  # in a folder it is passed over
        assert "user" in refused("amazon2018", paths[:2], ReadOptions(user="x")).what


META_2023 = lines(
    {
        "parent_asin": "B1",
        "title": "Lamp",
        "main_category": "Home",
        "categories": ["Home", "Light"],
        "store": "Lux",
        "price": None,
        "details": {"Color": "red"},
    },
    {"parent_asin": "B2", "title": "Mug", "categories": [], "store": None},
)


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


MOVIES = {
    "100k": {
        "u.data": b"1\t10\t3\t881250949\n2\t11\t5\t891717742\n",
        "u.item": (
            "10|Café Story (1995)|01-Jan-1995||http://x|0|1|0|0|0|1" + "|0" * 13 + "\n"
            "11|Heat: Two (1995)|01-Jan-1995||http://x" + "|0" * 19 + "\n"
        ).encode("latin-1"),
        "u.user": b"1|24|M|technician|85711\n",
    },
    "1m": {
        "ratings.dat": b"1::10::3::881250949\n2::11::5::891717742\n",
        "movies.dat": (
            "10::Café Story (1995)::Action|Comedy\n11::Heat: Two (1995)::(no genres listed)\n"
        ).encode("latin-1"),
        "users.dat": b"1::F::1::10::48067\n",
    },
    "25m": {
        "ratings.csv": b"userId,movieId,rating,timestamp\n1,10,3,881250949\n2,11,5,891717742\n",
        "movies.csv": (
            "movieId,title,genres\n10,Café Story (1995),Action|Comedy\n"
            '11,"Heat: Two (1995)",(no genres listed)\n'
        ).encode(),
        "tags.csv": b"userId,movieId,tag,timestamp\n",
    },
}


class TestMovieLens:
    @pytest.mark.parametrize("layout", list(MOVIES))
    @pytest.mark.parametrize("packed", [False, True])
    def test_layouts(self, tmp_path: Path, layout: str, packed: bool) -> None:
        source = tmp_path / f"ml-{layout}"
        if packed:
            source = source.with_suffix(".zip")
            with zipfile.ZipFile(source, "w") as archive:
                for name, content in MOVIES[layout].items():
                    archive.writestr(f"ml-{layout}/{name}", content)
        else:
            source.mkdir()
            for name, content in MOVIES[layout].items():
                (source / name).write_bytes(content)
        for form in ("movielens", "auto"):
            found = read(form, [source], RATED)
            assert found.events.select("user_id", "item_id", "rating", "time").rows() == [
                ("1", "10", 3.0, 881250949),
                ("2", "11", 5.0, 891717742),
            ]
            assert found.items.rows() == [
                (
                    "10",
                    "Café Story (1995)",
                    "Café Story (1995). Action Comedy",
                    f"ml-{layout}",
                ),
                ("11", "Heat: Two (1995)", "Heat: Two (1995)", f"ml-{layout}"),
            ]

    @pytest.mark.parametrize("layout", list(MOVIES))
    def test_bad_rows_are_named_or_counted(self, tmp_path: Path, layout: str) -> None:
        for name, content in MOVIES[layout].items():
            (tmp_path / name).write_bytes(content)
        ratings = tmp_path / next(iter(MOVIES[layout]))
        separator = {"100k": b"\t", "1m": b"::", "25m": b","}[layout]
        bad = [[b"1", b"10", b"4"], [b"1", b"99", b"3", b"5"], [b"1", b"10", b"x", b"7"]]
        whole = ratings.read_bytes()
        line = whole.count(b"\n") + 1
        for fields in bad:
            ratings.write_bytes(whole + separator.join(fields) + b"\n")
            assert refused("movielens", [tmp_path], RATED).where == f"{ratings}:{line}"
        ratings.write_bytes(whole + b"".join(separator.join(row) + b"\n" for row in bad))
        found = read("movielens", [tmp_path], ReadOptions(with_ratings=True, on_error="skip"))
        assert found.events.height == 2
        # In places of the file, though a broken row before them is gone.
        assert [(skip["rows"], skip["first"]) for skip in found.skipped] == [
            (1, f"{ratings.name}:{line}"),
            (1, f"{ratings.name}:{line + 2}"),
            (1, f"{ratings.name}:{line + 1}"),
        ]

    def test_two_layouts_or_half_of_one(self, tmp_path: Path) -> None:
        for name, content in (MOVIES["100k"] | MOVIES["1m"]).items():
            (tmp_path / name).write_bytes(content)
        assert "u.data and ratings.dat" in refused("movielens", [tmp_path]).what
        (tmp_path / "u.data").unlink()
        (tmp_path / "movies.dat").unlink()
        assert "movies.dat" in refused("movielens", [tmp_path]).what


RETAIL = [
    ("536365", "85123A", "HOLDER", "6", "12/1/2010 8:26", "2.55", "17850", "United Kingdom"),
    ("536365", "71053", "LANTERN", "6", "12/1/2010 8:26", "3.39", "17850", "United Kingdom"),
    ("C536379", "85123A", "HOLDER", "-1", "12/1/2010 9:41", "2.55", "17850", "United Kingdom"),
    ("536380", "85123A", "CREAM £HOLDER", "2", "12/13/2010 9:41", "2.55", "13047", "France"),
    ("536381", "85123A", "HOLDER", "2", "1/13/2011 9:41", "2.55", "", "France"),
    ("536382", "22139", "", "56", "1/14/2011 9:41", "0", "13047", "France"),
    ("536383", "71053", "LANTERN", "-9", "1/14/2011 9:41", "0", "13047", "France"),
]
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"


def retail_csv(rows: list[tuple[str, ...]] | None = None, header: str = HEADER) -> str:
    return header + "".join(",".join(row) + "\n" for row in rows or RETAIL)


class TestOnlineRetail:
    def check(self, found: Interactions) -> None:
        assert found.events.select("user_id", "item_id").rows() == [
            ("17850", "85123A"),
            ("17850", "71053"),
            ("13047", "85123A"),
        ]
        assert dict(found.items.select("item_id", "title").iter_rows()) == {
            "85123A": "HOLDER",
            "71053": "LANTERN",
            "22139": "22139",
        }
        assert found.events["time"].is_sorted()
        assert [(step["step"], step["interactions"]) for step in found.steps] == [
            ("as found in the files", 7),
            ("cancelled invoices dropped", 6),
            ("quantities below 1 dropped", 5),
            ("rows without a customer dropped", 4),
            ("as found in the files", 4),
            ("items without text dropped", 3),
        ]

    @pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
    @pytest.mark.parametrize("header", [HEADER, HEADER.replace("No", "").replace("rID", "r ID")])
    def test_csv(self, tmp_path: Path, encoding: str, header: str) -> None:
        text = retail_csv([row for row in RETAIL if row[0] != "536381"] + [RETAIL[4]], header)
        paths = write(tmp_path, retail__csv=text.encode(encoding))
        for form in ("online-retail", "auto"):
            self.check(read(form, paths))

    def test_an_invoice_as_a_session(self, tmp_path: Path) -> None:
        paths = write(tmp_path, retail__csv=retail_csv().encode())
        found = read("online-retail", paths, ReadOptions(user="InvoiceNo"))
        assert found.events["user_id"].to_list() == ["536365", "536365", "536380", "536381"]
        assert "'Country'" in refused("online-retail", paths, ReadOptions(user="Country")).what

    def test_workbook(self, tmp_path: Path) -> None:
        path = tmp_path / "Online Retail.xlsx"
        path.write_bytes(workbook(RETAIL))
        for form in ("online-retail", "auto"):
            self.check(read(form, [path]))

    def test_a_bad_cell_of_a_workbook(self, tmp_path: Path) -> None:
        path = tmp_path / "Online Retail.xlsx"
        bad = (*RETAIL[0][:3], "many", *RETAIL[0][4:])
        path.write_bytes(workbook([*RETAIL, bad]))
        error = refused("online-retail", [path])
        assert error.where == f"{path}!Sheet1:9"
        assert "'many'" in error.what

    def test_files_that_are_no_workbooks(self, tmp_path: Path) -> None:
        path = tmp_path / "Online Retail.xlsx"
        whole = workbook(RETAIL)
        for content in (b"no zip", whole[: len(whole) // 2], whole[:30], b"PK\x03\x04" + whole[9:]):
            path.write_bytes(content)
            assert str(path) in str(refused("online-retail", [path]).where)

    def test_a_workbook_that_is_a_bomb(self, tmp_path: Path) -> None:
        path = tmp_path / "Online Retail.xlsx"
        path.write_bytes(workbook(RETAIL, padding=33 << 20))
        assert path.stat().st_size < 1 << 18
        assert "unpacks to more than" in refused("online-retail", [path]).what

    @pytest.mark.parametrize(
        ("old", "new", "line", "what"),
        [
            ("Quantity", "Amount", 1, "no column 'Quantity'"),
            ("12/13/2010 9:41", "yesterday", 5, "'yesterday' is no time"),
            (",56,", ",x,", 7, "'x' is no number"),
            ("22139", "", 7, "has no item_id"),
        ],
    )
    def test_bad_cells(self, tmp_path: Path, old: str, new: str, line: int, what: str) -> None:
        paths = write(tmp_path, retail__csv=retail_csv().replace(old, new).encode())
        error = refused("online-retail", paths)
        assert (error.where, what in error.what) == (f"{paths[0]}:{line}", True)


def workbook(rows: list[tuple[str, ...]], padding: int = 0) -> bytes:
    """The least that a workbook is: one sheet, its text inside the cells."""
    import io

    def cell(column: int, row: int, text: str) -> str:
        place = f"{'ABCDEFGH'[column]}{row}"
        if not text:
            return ""
        if text.lstrip("-").replace(".", "", 1).isdigit():
            return f'<c r="{place}"><v>{text}</v></c>'
        return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'

    table = [tuple(HEADER.strip().split(",")), *rows]
    body = "".join(
        f'<row r="{at}">{"".join(cell(c, at, text) for c, text in enumerate(row))}</row>'
        for at, row in enumerate(table, 1)
    )
    ns = "http://schemas.openxmlformats.org"
    main = f'xmlns="{ns}/spreadsheetml/2006/main"'
    office = f"{ns}/officeDocument/2006/relationships"
    package = f"{ns}/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    files = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="xml" '
        'ContentType="application/xml"/><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Override PartName='
        f'"/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/><Override PartName='
        f'"/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{office}"><sheets><sheet name="Sheet1" '
        'sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/>'
        "</Relationships>",
        "xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{body}</sheetData></worksheet>"
        + " " * padding,
    }
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, '<?xml version="1.0" encoding="UTF-8"?>' + content)
    return sink.getvalue()


class TestDetection:
    def test_atomic_and_tables(self, tmp_path: Path) -> None:
        table = tmp_path / "shop.csv"
        table.write_bytes(b"user_id,item_id,title\nu,a,Lamp\n")
        assert "table" in read("auto", [table]).notes[0]
        inter = b"user_id:token\titem_id:token\nu\ta\n"
        item = b"item_id:token\ttitle:token_seq\na\tLamp\n"
        folder = tmp_path / "atomic"
        folder.mkdir()
        write(folder, Toy__inter=inter, Toy__item=item)
        assert "atomic" in read("auto", [folder]).notes[0]

    @pytest.mark.parametrize(
        "content", [b"", b"\0\0\0", b"a,b\n1,2\n", b"{}\n", b'{"a": 1}\n', b"\xff\xfe", b"<html>"]
    )
    def test_what_nobody_knows(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.csv").write_bytes(content)
        assert "--format" in (refused("auto", [tmp_path / "x.csv"]).remedy or "")

    def test_several_formats(self, tmp_path: Path) -> None:
        paths = write(tmp_path, a__json=lines(*reviews()), retail__csv=retail_csv().encode())
        assert "amazon2018, online-retail" in refused("auto", paths).what


def test_the_same_bytes_from_several_files_whatever_the_hash_seed(tmp_path: Path) -> None:
    users = [f"A{n:013d}" for n in range(12)]
    items = [f"B{n:09d}" for n in range(9)]
    for name, step in (("one", 5), ("two", 7)):
        rows = [f"{users[n % 12]},{items[n * step % 9]},5.0,{n // 40}" for n in range(200)]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "meta.json").write_bytes(lines(*({"asin": i, "title": f"T {i}"} for i in items)))
    sources = [str(tmp_path / name) for name in ("two.csv", "one.csv", "meta.json")]
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "miracle_cli", "preprocess", *sources, "--k-core", "2"]
        subprocess.run(
            [*command, "--out", str(tmp_path / f"out{seed}")],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "POLARS_MAX_THREADS": seed},
        )
    for path in (tmp_path / "out1").iterdir():
        assert path.read_bytes() == (tmp_path / "out2" / path.name).read_bytes()
    # Equal times: all of the file named first, then all of the other.
    dataset = Dataset.open(tmp_path / "out1")
    ids = dataset.items["item_id"].to_list()
    first = [items[n * 7 % 9] for n in range(0, 40, 12)]
    user = dataset.users["user_id"].to_list().index(users[0])
    assert [ids[item] for item in dataset.sequence(user)][: len(first)] == first
