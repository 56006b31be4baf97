"""Ids: whole numbers stored as floats, nearly equal ids, and files that share no ids."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from miracle_core.data.readers import ReadOptions, read
from miracle_core.data.readers.ids import whole_ids
from miracle_core.errors import InputError
from tests.data.support import lines, meta, refused, reviews, write


def parquet(path: Path, users: list[object], items: list[object], kind: pl.DataType) -> Path:
    pl.DataFrame(
        {
            "user_id": pl.Series(users, dtype=kind),
            "item_id": pl.Series(items, dtype=kind),
            "title": [f"T{item}" for item in items],
        }
    ).write_parquet(path)
    return path


class TestWholeNumbers:
    def test_one_month_as_integers_the_next_as_floats(self, tmp_path: Path) -> None:
        january = parquet(tmp_path / "1.parquet", [1, 2], [100, 101], pl.Int64())
        february = parquet(tmp_path / "2.parquet", [1, 2], [100, 101], pl.Float64())
        found = read("table", [january, february])
        assert found.events["user_id"].to_list() == ["1", "2", "1", "2"]
        assert found.items["item_id"].to_list() == ["100", "101"]

    def test_an_item_file_of_the_other_type(self, tmp_path: Path) -> None:
        sales = parquet(tmp_path / "1.parquet", [1, 2], [100, 101], pl.Float64())
        goods = tmp_path / "goods.csv"
        for content in ("item_id,title\n100,A\n101,B\n", "item_id,title\n100.0,A\n101.0,B\n"):
            goods.write_text(content)
            found = read("table", [sales], ReadOptions(items=goods))
            assert found.events["item_id"].to_list() == ["100", "101"]
            assert found.items["item_id"].to_list() == ["100", "101"]

    @pytest.mark.parametrize("separator", [",", "\t"])
    def test_text_that_was_a_column_of_floats(self, tmp_path: Path, separator: str) -> None:
        january, february = tmp_path / "1.tsv", tmp_path / "2.tsv"
        suffix = ".csv" if separator == "," else ".tsv"
        january, february = january.with_suffix(suffix), february.with_suffix(suffix)
        january.write_text("user_id,item_id,title\n17850,7,A\n".replace(",", separator))
        february.write_text(
            "user_id,item_id,title\n17850.0,7.0,A\n3.0,8,B\n".replace(",", separator)
        )
        found = read("table", [january, february])
        assert found.events["user_id"].to_list() == ["17850", "17850", "3"]
        assert found.items["item_id"].to_list() == ["7", "8"]

    def test_json_that_held_floats(self, tmp_path: Path) -> None:
        games = [{"app_name": "Bat", "id": 70.0}, {"app_name": "Half", "id": "71"}]
        played = [
            {"username": "u", "product_id": 70, "date": "2018-01-02"},
            {"username": "u", "product_id": 71.0, "date": "2018-01-03"},
        ]
        paths = write(tmp_path, games__json=lines(*games), reviews__json=lines(*played))
        assert read("steam", paths).events["item_id"].to_list() == ["70", "71"]

    def test_json_that_lost_digits(self, tmp_path: Path) -> None:
        """A number of more than 64 bits is read as a float, so two users could become one."""
        games = lines({"app_name": "Bat", "id": "7"})
        for one, other in ((2**64 + 1, 2**64 + 2), (1e16, 1.0000000000000002e16)):
            played = lines(
                *(
                    {"username": user, "product_id": "7", "date": "2018-01-02"}
                    for user in ("u", one, other)
                )
            )
            paths = write(tmp_path, games__json=games, reviews__json=played)
            error = refused("steam", paths)
            assert "has lost its last digits" in error.what
            assert error.where == f"{paths[1]}:2"
            found = read("steam", paths, ReadOptions(on_error="skip"))
            assert (found.events.height, found.skipped[0]["rows"]) == (1, 2)

    def test_attributes_keep_to_their_items(self, tmp_path: Path) -> None:
        (tmp_path / "T.inter").write_text("user_id:token\titem_id:token\nu\t1\nu\t2\n")
        (tmp_path / "T.item").write_text(
            "item_id:token\ttitle:token_seq\tbrand:token\n1.0\tLamp\tLux\n2.0\tMug\tDuo\n"
        )
        attributes = read("atomic", [tmp_path]).attributes
        assert attributes is not None
        assert attributes.rows() == [("1", "brand", "Lux"), ("2", "brand", "Duo")]
        with (tmp_path / "T.item").open("a") as file:
            file.write("2.0\tMug\tDuo\n")
        assert "is there twice" in refused("atomic", [tmp_path]).what

    @pytest.mark.parametrize(("bad", "what"), [(1.5, "not whole"), (2.0**60, "too large")])
    def test_other_floats_are_no_ids(self, tmp_path: Path, bad: float, what: str) -> None:
        path = parquet(tmp_path / "1.parquet", [1.0, bad], [7.0, 8.0], pl.Float64())
        error = refused("table", [path])
        assert what in error.what
        assert error.where == f"{path}: row 2"

    def test_a_missing_one_is_missing(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "1.parquet", [1.0, None, float("nan")], [7, 8, 9], pl.Float64())
        assert "no user_id" in refused("table", [path]).what
        found = read("table", [path], ReadOptions(on_error="skip"))
        assert found.events["user_id"].to_list() == ["1"]
        assert found.skipped[0]["rows"] == 2

    def test_both_among_ids_that_are_no_numbers(self) -> None:
        place = "row {}".format
        for others in (["x", "y"], ["7.5"]):
            with pytest.raises(InputError, match=r"both '7\.0' and '7'") as caught:
                whole_ids(pl.Series(["7", *others, "7.0"]), "item", place)
            assert caught.value.where == f"row {len(others) + 1}"
        mostly = pl.Series(["7", "x", "7.0", "8.0"])  # one broken id does not change the others
        assert whole_ids(mostly, "item", place).to_list() == ["7", "x", "7", "8"]
        for values in (
            ["v1.0", "x"],
            ["7.0", "x"],
            ["1.5", "1.0"],
        ):  # unchanged: nothing is merged
            assert whole_ids(pl.Series(values), "item", place).to_list() == values

    def test_of_enums(self) -> None:
        for values in (["7.0", "8"], ["7.0", "7"]):
            enum = pl.Series(values, dtype=pl.Enum(values))
            found = whole_ids(enum, "item", str).cast(pl.String).to_list()
            assert found == [value.removesuffix(".0") for value in values]


class TestTypes:
    """Values of Parquet columns that are not ids, or no longer the original ids."""

    def test_floats_of_32_bits(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "1.parquet", [1, 2**24 - 1], [100, 101], pl.Float32())
        assert read("table", [path]).events["user_id"].to_list() == ["1", "16777215"]
        # 2^24 + 1 is stored as 2^24, which is another customer's id.
        path = parquet(tmp_path / "1.parquet", [1, 2**24 + 1], [100, 101], pl.Float32())
        error = refused("table", [path], ReadOptions(on_error="skip"))
        assert "too large" in error.what
        assert error.where == f"{path}: row 2"

    def test_decimals(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "1.parquet", ["1", "2"], ["7", "8"], pl.Decimal(38, 2))
        found = read("table", [path])
        assert found.events.select("user_id", "item_id").rows() == [("1", "7"), ("2", "8")]
        path = parquet(tmp_path / "1.parquet", ["1.50", "2"], ["7", "8"], pl.Decimal(9, 2))
        error = refused("table", [path])
        assert ("1.50 is not whole" in error.what, error.where) == (True, f"{path}: row 1")

    def test_large_integers_stay_as_they_are(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "1.parquet", [2**64 - 1, 2**53 + 1], [1, 2], pl.UInt64())
        users = read("table", [path]).events["user_id"].to_list()
        assert users == ["18446744073709551615", "9007199254740993"]

    @pytest.mark.parametrize(
        "users",
        [[True, False], [["a"], ["b", "c"]], [[1], [2]], [{"a": 1}, {"a": 2}], [timedelta(1)] * 2],
    )
    def test_what_can_not_be_an_id(self, tmp_path: Path, users: list[object]) -> None:
        path = tmp_path / "1.parquet"
        pl.DataFrame({"user_id": users, "item_id": [1, 2], "title": ["A", "B"]}).write_parquet(path)
        assert "can't be a column of ids" in refused("table", [path]).what

    def test_what_can_not_be_text(self, tmp_path: Path) -> None:
        path = tmp_path / "1.parquet"
        for titles in ([{"a": 1}] * 2, [[1], [2]]):
            frame = pl.DataFrame({"user_id": ["u", "v"], "item_id": [1, 2], "title": titles})
            frame.write_parquet(path)
            assert "can't be text" in refused("table", [path]).what


class TestExponents:
    @pytest.mark.parametrize("broken", ["1E+05", "1.23457E+11", "1.2345678E7", "1e+05"])
    def test_among_whole_numbers_digits_may_be_lost(self, tmp_path: Path, broken: str) -> None:
        path = tmp_path / "shop.csv"
        for ids in (["1", "2", broken, "100000"], [broken, broken]):
            for column in (0, 1):
                rows = [[name, "7", "Lamp"] if not column else ["7", name, "Lamp"] for name in ids]
                text = "".join(f"{','.join(row)}\n" for row in rows)
                path.write_text(f"user_id,item_id,title\n{text}")
                error = refused("table", [path], ReadOptions(on_error="skip"))
                assert f"{broken!r} is a number in exponent form" in error.what
                assert error.where == f"{path}:{ids.index(broken) + 2}"

    def test_among_other_ids_they_are_text(self, tmp_path: Path) -> None:
        path = tmp_path / "shop.csv"
        for ids in (["a1", "b2", "1E+05"], ["3f9a", "1e10", "77"], ["1e5", "1E5"]):
            text = "".join(f"{name},7,Lamp\n" for name in ids)
            path.write_text(f"user_id,item_id,title\n{text}")
            assert read("table", [path]).events["user_id"].to_list() == ids

    def test_what_may_be_a_number_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "shop.csv"
        path.write_text("user_id,item_id,title\n1,7,A\n2,7,A\n1e5,7,A\n")
        found = read("table", [path])
        assert found.events["user_id"].to_list() == ["1", "2", "1e5"]
        assert any("'1e5' among whole numbers is taken as it is" in note for note in found.notes)


class TestAlike:
    def test_ids_that_differ_only_in_case_are_told(self, tmp_path: Path) -> None:
        path = tmp_path / "shop.csv"
        path.write_text("user_id,item_id,title\nanna,a,A\nAnna,b,B\n bob,a,A\nbob,b,B\neve,B,C\n")
        notes = read("table", [path]).notes
        assert any("4 user ids" in note and "'Anna' and 'anna'" in note for note in notes)
        assert any("2 item ids" in note and "'B' and 'b'" in note for note in notes)
        path.write_text("user_id,item_id,title\nanna,a,A\nbob,b,B\n")
        assert not read("table", [path]).notes

    def test_an_item_that_is_nearly_there(self, tmp_path: Path) -> None:
        (tmp_path / "goods.csv").write_text("item_id,title\nABC,A\n007,B\n")
        sales = tmp_path / "sales.csv"
        for item, there in (("abc", "ABC"), ("7", "007")):
            sales.write_text(f"user_id,item_id\nu,{item}\nu,{'007' if item == 'abc' else 'ABC'}\n")
            error = refused("table", [sales], ReadOptions(items=tmp_path / "goods.csv"))
            assert f"(it has {there!r})" in error.what
            assert error.where == f"{sales}:2"


class TestNothingInCommon:
    def test_reviews_and_metadata(self, tmp_path: Path) -> None:
        other = meta().replace(b'"B00004Z5M1"', b'"X1"').replace(b'"0000013714"', b'"X2"')
        paths = write(tmp_path, r__json=lines(*reviews()), meta_r__json=other)
        for options in (ReadOptions(), ReadOptions(on_error="skip")):
            error = refused("amazon2018", paths, options)
            assert "nothing in common" in error.what
            assert "'X1', 'X2'" in error.what
            assert error.where == f"{paths[0]}:1"

    def test_a_table_and_its_items(self, tmp_path: Path) -> None:
        (tmp_path / "goods.csv").write_text("item_id,title\n1,A\n2,B\n")
        sales = tmp_path / "sales.csv"
        sales.write_text("user_id,item_id\nu,a\nu,b\n")
        for skip in ("stop", "skip"):
            options = ReadOptions(items=tmp_path / "goods.csv", on_error=skip)
            assert "nothing in common" in refused("table", [sales], options).what


def test_any_number_of_noughts_after_the_point_is_a_whole_number() -> None:
    ids = whole_ids(pl.Series("user", ["1", "1.00", "2", "3.0"]), "user", str)
    assert ids.to_list() == ["1", "1", "2", "3"]
