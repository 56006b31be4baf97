"""Field separators: a wrong one is reported, and another one can be given."""

from __future__ import annotations

from pathlib import Path

import pytest

from miracle_core.data.readers import ReadOptions, read
from miracle_core.data.readers.separators import separator_named
from miracle_core.errors import InputError
from tests.data.support import MOVIES, refused, retail_csv

ROWS = [("user_id", "item_id", "when", "title"), ("u", "a", "1", "Lamp"), ("u", "b", "2", "Mug")]
EVENTS = [("u", "a", 1), ("u", "b", 2)]


def write(path: Path, separator: str, rows: list[tuple[str, ...]] = ROWS, ahead: str = "") -> Path:
    path.write_text(ahead + "".join(separator.join(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("name", "separator", "called", "option"),
    [
        ("shop.csv", ";", "semicolons", '";"'),
        ("shop.csv", "|", "bars", '"|"'),
        ("shop.csv", "\t", "tabs", "tab"),
        ("shop.tsv", ",", "commas", '","'),
        ("shop.txt", " ", "spaces", "space"),
    ],
)
@pytest.mark.parametrize("form", ["table", "auto"])
def test_a_wrong_one_is_named_and_can_be_given(
    tmp_path: Path, name: str, separator: str, called: str, option: str, form: str
) -> None:
    path = write(tmp_path / name, separator)
    error = refused(form, [path], ReadOptions(time="when"))
    assert f"separated by {called}" in error.what
    assert error.remedy == f"add --separator {option}"
    assert error.where == f"{path}:1"
    found = read(form, [path], ReadOptions(time="when", separator=option.strip('"')))
    assert found.events.rows() == EVENTS
    assert found.items["title"].to_list() == ["Lamp", "Mug"]


def test_columns_of_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "shop.csv", ";", [("customer", "sku"), ("u", "a")])
    error = refused("table", [path])
    assert "semicolons" in error.what
    # A single column with a space in its name does not suggest spaces as separators.
    path.write_text("all of it\nx\n")
    assert "no column 'user_id'" in refused("table", [path]).what


def test_a_first_line_that_names_it(tmp_path: Path) -> None:
    path = write(tmp_path / "shop.csv", ";", ahead="sep=;\n")
    error = refused("table", [path], ReadOptions(time="when"))
    assert "its first line says" in error.what
    assert error.remedy == 'add --separator ";"'
    options = ReadOptions(time="when", separator=";")
    assert read("table", [path], options).events.rows() == EVENTS
    path = write(tmp_path / "shop.csv", ",", ahead="\ufeffsep=,\r\n")
    assert read("table", [path], ReadOptions(time="when")).events.rows() == EVENTS
    path.write_text(path.read_text() + "u,c,late,T\n")
    assert refused("table", [path], ReadOptions(time="when")).where == f"{path}:5"


def test_quotes_follow_the_separator(tmp_path: Path) -> None:
    path = write(tmp_path / "shop.csv", ";", [*ROWS, ("u", "c", "3", '"A; ""B"""')])
    found = read("table", [path], ReadOptions(time="when", separator=";"))
    assert found.items["title"].to_list()[-1] == 'A; "B"'


def test_an_item_file_keeps_its_own(tmp_path: Path) -> None:
    sales = write(tmp_path / "sales.csv", ";")
    goods = tmp_path / "goods.tsv"
    goods.write_text("item_id\ttitle\na\tLamp\nb\tMug\n")
    options = ReadOptions(time="when", separator=";", items=goods)
    assert read("table", [sales], options).items["title"].to_list() == ["Lamp", "Mug"]


def test_any_ending_with_a_separator(tmp_path: Path) -> None:
    path = write(tmp_path / "shop.dat", "::")
    assert "--separator" in (refused("table", [path]).remedy or "")
    found = read("table", [path], ReadOptions(time="when", separator="::"))
    assert found.events.rows() == EVENTS


def test_atomic_files_with_spaces(tmp_path: Path) -> None:
    inter = tmp_path / "T.inter"
    inter.write_text("user_id:token item_id:token timestamp:float\nu a 1\nu b 2\n")
    (tmp_path / "T.item").write_text("item_id:token\ttitle:token_seq\na\tBig Lamp\nb\tMug\n")
    error = refused("auto", [tmp_path])
    assert "separated by spaces" in error.what
    assert (error.where, error.remedy) == (f"{inter}:1", "add --separator space")
    found = read("auto", [tmp_path], ReadOptions(separator="space"))
    assert found.events.rows() == EVENTS
    assert found.items["title"][0] == "Big Lamp"


def test_online_retail_and_movielens(tmp_path: Path) -> None:
    path = tmp_path / "retail.csv"
    path.write_text(retail_csv().replace(",", ";"))
    for form in ("online-retail", "auto"):
        assert refused(form, [path]).remedy == 'add --separator ";"'
        assert read(form, [path], ReadOptions(separator=";")).events.height == 3
    folder = tmp_path / "ml-25m"
    folder.mkdir()
    for name, content in MOVIES["25m"].items():
        (folder / name).write_bytes(content.replace(b",", b";"))
    assert refused("movielens", [folder]).remedy == 'add --separator ";"'
    assert read("movielens", [folder], ReadOptions(separator="semicolon")).events.height == 2


@pytest.mark.parametrize("text", ["", "x", '"', "\n", "comma,", "user_id"])
def test_what_is_no_separator(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        read("table", [write(tmp_path / "shop.csv", ",")], ReadOptions(separator=text))
    assert caught.value.where == "--separator"


def test_words_for_separators() -> None:
    found = [separator_named(text) for text in ("tab", "\\t", "SPACE", "bar", "::", "§")]
    assert found == ["\t", "\t", " ", "|", "::", "§"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16le", "utf-16be", "utf-32"])
@pytest.mark.parametrize("form", ["table", "auto", "online-retail", "amazon2018"])
def test_other_encodings_have_their_own_remedy(tmp_path: Path, encoding: str, form: str) -> None:
    path = tmp_path / "shop.csv"
    text = "".join(",".join(row) + "\n" for row in ROWS)
    if form == "amazon2018":
        path, text = tmp_path / "r.json", '{"asin": "a", "title": "b"}\n'
    path.write_bytes(text.encode(encoding))
    error = refused(form, [path])
    assert error.what == f"is {encoding.upper()}, not UTF-8"
    assert f"iconv -f {encoding} -t utf-8" in (error.remedy or "")


def test_a_part_of_a_column_s_name_is_no_sign_of_spaces_as_separators(tmp_path: Path) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("user_id,item_id,Sold at,title,kind|size\nu,a,2024-01-01,Lamp,Light|2\n")
    with pytest.raises(InputError) as caught:
        read("table", [path], ReadOptions(time="Sold"))
    assert "has no column 'Sold'" in caught.value.what
    assert "item_id, Sold at, title" in caught.value.what
    with pytest.raises(InputError, match="'kind\\|size' is one column as it was read"):
        read("table", [path], ReadOptions(time="size"))
