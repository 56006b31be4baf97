"""Generic tables (CSV, TSV and Parquet), and everything that is refused."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from miracle_core.data.readers import ReadOptions, read
from miracle_core.errors import InputError

CSV = (
    "user_id,item_id,when,title,about\n"
    'u,b,3,"Drill, 18 V","say ""hi"""\n'
    "v,a,1,Hammer,\n"
    "u,a,2,,heavy\n"
    "u,b,4,Other name,\n"
)
TIMED = ReadOptions(time="when")


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(path: Path, options: ReadOptions | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        read("table", [path], options)
    assert caught.value.where
    assert caught.value.remedy
    return caught.value


def test_csv_with_text_in_its_rows(tmp_path: Path) -> None:
    options = ReadOptions(time="when", text=("about",))
    found = read("table", [write(tmp_path / "shop.csv", CSV)], options)
    assert found.events.rows() == [("u", "b", 3), ("v", "a", 1), ("u", "a", 2), ("u", "b", 4)]
    # Of each item, the first title and the first text that are not blank.
    assert found.items.rows() == [
        ("b", "Drill, 18 V", 'Drill, 18 V. say "hi"', "shop"),
        ("a", "Hammer", "Hammer. heavy", "shop"),
    ]
    assert found.reading is not None
    assert found.reading["columns"]["text"] == ["title", "about"]
    assert not found.benchmark


def test_without_a_time_the_order_of_the_file(tmp_path: Path) -> None:
    found = read("table", [write(tmp_path / "shop.csv", CSV)])
    assert found.events["time"].to_list() == [0, 1, 2, 3]


def test_columns_by_name_and_items_in_a_second_file(tmp_path: Path) -> None:
    events = write(tmp_path / "e.tsv", "Customer\tSKU\tDay\n1\tx\t2024-02-01\n1\ty\t2023-12-31\n")
    items = write(tmp_path / "i.csv", "SKU,Name,Kind\nx,Lamp,Light\ny,Mug,\nz,Unsold,\n")
    options = ReadOptions(
        user="Customer", item="SKU", time="Day", title="Name", text=("Kind",), items=items
    )
    found = read("table", [events], options)
    assert found.events["time"].is_sorted(descending=True)
    assert found.items["text"].to_list() == ["Lamp. Light", "Mug", "Unsold"]
    assert [source.file for source in found.sources] == ["e.tsv", "i.csv"]


def test_the_title_from_the_text(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "user_id,item_id,about\nu,a,A small lamp. It is cheap.\n")
    found = read("table", [path], ReadOptions(text=("about",)))
    assert found.items.row(0)[:3] == ("a", "A small lamp", "A small lamp. It is cheap.")


def test_parquet_with_types(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame(
        {
            "user_id": [1, 1, 2],
            "item_id": [10, 11, 10],
            "when": [datetime(2024, 1, 2), datetime(2024, 1, 1), datetime(2024, 1, 1)],
            "title": ["Lamp", "Mug", "Lamp"],
            "categories": [["Home", "Light"], [], ["Home", "Light"]],
        }
    ).write_parquet(path)
    found = read("table", [path], ReadOptions(time="when", text=("categories",)))
    assert found.events["user_id"].to_list() == ["1", "1", "2"]
    times = found.events["time"].to_list()
    assert times[0] - times[1] == 24 * 3600 * 1_000_000
    assert found.items["text"].to_list() == ["Lamp. Home Light", "Mug"]


def test_several_files_of_different_kinds_are_one(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", "user_id,item_id,when,title\nu,a,2024-01-03,Lamp\n")
    second = tmp_path / "b.parquet"
    pl.DataFrame(
        {"user_id": ["u"], "item_id": ["b"], "when": [date(2024, 1, 2)], "title": ["Mug"]}
    ).write_parquet(second)
    found = read("table", [first, second], TIMED)
    times = found.events["time"].to_list()
    assert times[0] - times[1] == 24 * 3600 * 1_000_000
    third = write(tmp_path / "c.csv", "user_id,item_id,when,title\nu,c,2024-01-04,\n")
    with pytest.raises(InputError) as caught:
        read("table", [first, second, third], TIMED)
    assert caught.value.where == f"{third}:2"


@pytest.mark.parametrize(
    ("values", "later"),
    [
        (["3", " 1 ", "2"], [0, -2, -1]),
        (["3.5", "1", "2e0"], [0, -2.5, -1.5]),
        (["9007199254740992", "9007199254740993"], [0, 1]),  # equal as float64
        (["2024-01-02T00:00:01", "2024-01-02T00:00:00.5"], [0, -5e5]),
        (["2024-01-02 10:01", "2024-01-01 10:01"], [0, -24 * 3600e6]),
        (["2024-01-02", "2024-01-03"], [0, 24 * 3600e6]),
    ],
)
def test_times(tmp_path: Path, values: list[str], later: list[float]) -> None:
    rows = "".join(f"u,a,{value},Lamp\n" for value in values)
    path = write(tmp_path / "t.csv", "user_id,item_id,when,title\n" + rows)
    times = read("table", [path], TIMED).events["time"].to_list()
    assert [time - times[0] for time in times] == later


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        (CSV.replace("item_id", "item"), ":1", "no column 'item_id' (it has: user_id, item, when"),
        (CSV.replace("when", "at"), ":1", "no column 'when'"),
        (CSV.replace("title", "name"), ":1", "no column 'title'"),
        (CSV.replace("about", "title"), ":1", "twice"),
        (CSV + "u,a\n", ":6", "has 2 fields, expected 5"),
        (CSV + 'u,a,5,"two\nlines",\n\nu,a,x,,\n', ":9", "'x' is not a time"),
        (CSV + 'u,a,5,"never closed,\nu,a,6,,\n', ":6", "would swallow line 7"),
        (CSV + "u,c,5,,\n", ":6", "'c' has no text"),
        (CSV + ",a,5,,\n", ":6", "has no user_id"),
        ("", "", "is empty"),
        ("\n\n", "", "is empty"),
        (CSV.split("\n")[0], "", "has no rows"),
        (CSV.encode().replace(b"Hammer", b"Hammer\xe9"), ":3:13", "UTF-8"),
        (CSV.encode("utf-16"), ":1:1", "UTF-8"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, content: str | bytes, line: str, what: str) -> None:
    path = write(tmp_path / "shop.csv", content)
    error = refused(path, TIMED)
    assert error.where == f"{path}{line}"
    assert what in error.what


def test_events_of_an_item_that_the_item_file_lacks(tmp_path: Path) -> None:
    items = write(tmp_path / "items.csv", "item_id,title\na,Hammer\n")
    events = write(tmp_path / "shop.csv", CSV)
    error = refused(events, ReadOptions(items=items))
    assert error.where == f"{events}:2"
    assert "'b'" in error.what


def test_items_without_text_say_how_to_go_on(tmp_path: Path) -> None:
    path = write(tmp_path / "shop.csv", CSV + "w,c,5,,\n")
    assert "--on-error skip" in (refused(path).remedy or "")
    found = read("table", [path], ReadOptions(on_error="skip"))
    assert found.events.height == 4
    assert found.skipped[0]["reason"] == "an item without text"


def test_an_item_twice_in_the_item_file(tmp_path: Path) -> None:
    items = write(tmp_path / "items.csv", "item_id,title\na,Hammer\nb,Drill\na,Saw\n")
    error = refused(write(tmp_path / "shop.csv", CSV), ReadOptions(items=items))
    assert error.where == f"{items}:4"
    assert f"first at {items}:2" in error.what


@pytest.mark.parametrize("name", ["none.csv", "shop.dat", "broken.parquet", ""])
def test_files_that_are_no_tables(tmp_path: Path, name: str) -> None:
    write(tmp_path / "shop.dat", CSV)
    write(tmp_path / "broken.parquet", "PAR1 it is not")
    assert refused(tmp_path / name).where == str(tmp_path / name)


def test_an_unknown_format_and_no_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="atomic, movielens, online-retail, steam, table"):
        read("amazon", [tmp_path])
    with pytest.raises(InputError, match="no source"):
        read("table", [])


def test_a_column_with_nearly_the_name_is_named(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "shop.csv", "user_id,item_idd,title\nu,a,Lamp\n"))
    assert error.remedy == "write 'item_idd', or 'item_id' in the header"


def test_an_item_file_with_other_columns_or_another_separator(tmp_path: Path) -> None:
    sales, goods = tmp_path / "sales.csv", tmp_path / "goods.csv"
    sales.write_text("user_id,item_id\nu,a\n")
    for content, what in (
        ("sku,title\na,Lamp\n", "has no column 'item_id' (it has: sku, title)"),
        ("item_id;title\na;Lamp\n", "separated by semicolons"),
    ):
        goods.write_text(content)
        error = refused(sales, ReadOptions(items=goods))
        assert what in error.what
        assert error.where == f"{goods}:1"


def test_one_column_can_not_be_the_users_and_the_items(tmp_path: Path) -> None:
    sales = tmp_path / "sales.csv"
    sales.write_text("user_id,item_id,title\nu,a,A\n")
    error = refused(sales, ReadOptions(user="item_id"))
    assert "column of users and as that of items" in error.what


def test_columns_in_another_case_are_named(tmp_path: Path) -> None:
    sales = tmp_path / "sales.csv"
    sales.write_text("User_ID,item_id,title\nu,a,A\n")
    assert "'User_ID'" in (refused(sales).remedy or "")


def test_json_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "sales.jsonl"
    path.write_text('{"user_id": "u"}\n')
    error = refused(path)
    assert "JSON" in error.what
    assert "leave --format out" in (error.remedy or "")


def test_an_item_without_a_title_is_told_and_has_its_id_as_title(tmp_path: Path) -> None:
    text = "user_id,item_id,title,kind\nu,1.0,,Light\nu,2.0,Mug,\nu,3.0,,Light\n"
    found = read("table", [write(tmp_path / "t.csv", text)], ReadOptions(text=("kind",)))
    # The id as it is in the Dataset, not as a spreadsheet wrote it.
    assert found.items["title"].to_list() == ["1", "Mug", "3"]
    assert [note for note in found.notes if "title" in note] == [
        "2 items have a text but no title, and the id takes its place (the first: '1')"
    ]
    titled = write(tmp_path / "titled.csv", "user_id,item_id,title\nu,a,Lamp\n")
    assert not read("table", [titled]).notes
    assert not read("table", [titled], ReadOptions(no_text=True)).notes


def test_the_column_of_ratings_is_recorded_where_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "user_id,item_id,title,quantity\nu,a,Lamp,1\nu,a,Lamp,-1\n")
    options = ReadOptions(rating="quantity", with_ratings=True)
    assert read("table", [path], options).reading["columns"]["rating"] == "quantity"
    assert "rating" not in read("table", [path]).reading["columns"]
