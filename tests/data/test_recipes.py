"""Recipes: named sets of filters that reproduce published data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from miracle_cli.main import main
from miracle_core.data.dataset import Dataset
from miracle_core.data.interactions import Interactions
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import ReadOptions, read
from miracle_core.data.recipes import RECIPES
from miracle_core.data.verify import verify
from miracle_core.errors import InputError
from tests.data.support import RETAIL, lines, refused, retail_csv, write

PAPER = ReadOptions(recipe="paper")


def steps(found: Interactions) -> list[tuple[str, int]]:
    return [(step["step"], step["interactions"]) for step in found.steps]


class TestOnlineRetail:
    def test_the_steps(self, tmp_path: Path) -> None:
        # An equal line, and three that differ in quantity, time or item.
        first = RETAIL[0]
        more = [
            first,
            (*first[:3], "7", *first[4:]),
            (*first[:4], "12/1/2010 8:27", *first[5:]),
            (first[0], "71053", "LANTERN", "6", "12/1/2010 8:26", "9.99", "", "France"),
        ]
        paths = write(tmp_path, retail__csv=retail_csv([*RETAIL, *more]).encode())
        found = read("online-retail", paths, PAPER)
        assert steps(found) == [
            ("as found in the files", 11),
            ("lines without a description dropped", 10),
            ("equal lines merged", 8),
        ]
        # Lines that differ only in price, customer or country are equal; cancellations are kept.
        assert found.events.select("user_id", "item_id").rows() == [
            ("536365", "85123A"),
            ("536365", "71053"),
            ("C536379", "85123A"),
            ("536380", "85123A"),
            ("536381", "85123A"),
            ("536383", "71053"),
            ("536365", "85123A"),
            ("536365", "85123A"),
        ]
        assert found.reading == {"format": "online-retail", "user": "invoice", "recipe": "paper"}

    def test_equal_times_keep_the_order_of_the_file(self, tmp_path: Path) -> None:
        goods = ["C", "A", "B", "E", "D"]
        rows = [
            (invoice, item, f"GOOD {item}", "1", "12/1/2010 8:26", "1", "", "France")
            for invoice in ("1", "2", "3", "4", "5")
            for item in (goods if invoice != "3" else goods[::-1])
        ]
        paths = write(tmp_path, retail__csv=retail_csv(rows).encode())
        dataset = prepare(read("online-retail", paths, PAPER), PrepareSettings(), tmp_path / "out")
        names = dataset.items["item_id"].to_list()
        sequence = [names[i] for i in dataset.sequences[dataset.offsets[2] : dataset.offsets[3]]]
        assert sequence == goods[::-1]
        verify(tmp_path / "out")

    def test_another_user_is_refused(self, tmp_path: Path) -> None:
        paths = write(tmp_path, retail__csv=retail_csv().encode())
        error = refused("online-retail", paths, ReadOptions(recipe="paper", user="CustomerID"))
        assert "is an invoice" in error.what
        same = read("online-retail", paths, ReadOptions(recipe="paper", user="InvoiceNo"))
        assert same.events.equals(read("online-retail", paths, PAPER).events)

    @pytest.mark.real_data
    def test_the_paper_s_table_1(self, tmp_path: Path, real_data: Path) -> None:
        raw = real_data / "online-retail" / "OnlineRetail.csv.gz"
        made = prepare(read("online-retail", [raw], PAPER), PrepareSettings(), tmp_path / "out")
        assert (made.n_users, made.n_items, made.n_interactions) == (16_520, 3_469, 519_906)
        assert made.manifest.settings["read"]["recipe"] == "paper"


def amazon(folder: Path, ratings: list[tuple[str, str, str, str]], *meta: object) -> list[Path]:
    text = "".join(",".join(row) + "\n" for row in ratings)
    return write(folder, Shop__csv=text.encode(), meta_Shop__json=lines(*meta))


class TestAmazon:
    def test_equal_ratings_are_one_and_untitled_items_stay(self, tmp_path: Path) -> None:
        row = ("B00004Z5M1", "A2SUAM1J3GNN3B", "5.0", "1400000000")
        other = ("B000AAAAA1", *row[1:])
        paths = amazon(
            tmp_path,
            [
                row,
                (*row[:2], "4.0", row[3]),
                row,
                (*row[:3], "1400000001"),
                other,
                ("B000AAAAA2", *row[1:]),
                ("B000AAAAA3", *row[1:]),
            ],
            {"asin": row[0], "title": "Blue tape", "brand": "3M", "category": []},
            {"asin": other[0], "title": "", "brand": "3M", "category": ["Tapes"]},
            {"asin": "B000AAAAA2", "title": "", "brand": "", "category": []},
        )
        found = read("amazon2018", paths, PAPER)
        assert steps(found) == [
            ("as found in the files", 7),
            ("equal ratings merged", 6),
            ("items without text dropped", 4),
        ]
        # Without the recipe, items without a title are dropped.
        plain = read("amazon2018", paths)
        assert plain.events["item_id"].to_list() == [row[0]] * 4
        assert found.events["item_id"].to_list() == [row[0]] * 3 + [other[0]]
        assert dict(found.items.select("item_id", "text").iter_rows())[other[0]] == "Tapes. 3M"
        assert found.reading == {"format": "amazon2018", "recipe": "paper"}

    def test_a_bad_row_after_a_merged_one_is_found_where_it_is(self, tmp_path: Path) -> None:
        row = ("B00004Z5M1", "A2SUAM1J3GNN3B", "5.0", "1400000000")
        paths = amazon(
            tmp_path, [row, row, (row[0], "", *row[2:])], {"asin": row[0], "title": "Tape"}
        )
        error = refused("amazon2018", paths, ReadOptions(recipe="paper", order="item-first"))
        assert error.where == f"{paths[0]}:3"

    @pytest.mark.real_data
    def test_it_leaves_the_published_scientific_as_it_is(
        self, tmp_path: Path, real_data: Path
    ) -> None:
        split = prepare(
            read("atomic", [real_data / "scientific"]), PrepareSettings(), tmp_path / "split"
        )
        users, items = split.users["user_id"].to_list(), split.items["item_id"].to_list()
        ratings = [
            (items[item], f"A{users[user]:0>13}", "5.0", f"{1400000000 + at}")
            for user in range(split.n_users)
            for at, item in enumerate(split.sequences[slice(*split.offsets[user : user + 2])])
        ]
        titles = split.items.select("item_id", "title").rows()
        paths = amazon(
            tmp_path, ratings, *({"asin": item, "title": title} for item, title in titles)
        )
        made = prepare(read("amazon2018", paths, PAPER), PrepareSettings(), tmp_path / "out")
        assert (made.n_users, made.n_items, made.n_interactions) == (8_442, 4_385, 59_427)
        assert (made.sequences == split.sequences).all()


class TestBadInput:
    def test_unknown_recipes(self, tmp_path: Path) -> None:
        paths = write(tmp_path, retail__csv=retail_csv().encode())
        error = refused("online-retail", paths, ReadOptions(recipe="papper"))
        assert (error.remedy, "'papper'" in error.what) == ("did you mean paper?", True)
        for form in ("table", "atomic", "movielens", "steam", "amazon2023"):
            error = refused(form, paths, PAPER)
            assert error.what == "this format has no recipes"
        assert read("auto", paths, PAPER).events.equals(read("online-retail", paths, PAPER).events)

    @pytest.mark.parametrize(
        ("changes", "option"),
        [
            ({"k_core": 3}, "--k-core"),
            ({"user_core": 5}, "--user-core"),
            ({"duplicates": "drop"}, "--duplicates"),
            ({"since": "2011-01-01"}, "--since"),
            ({"split": "temporal"}, "--split"),
            ({"keep_unsold": True}, "--keep-unsold"),
        ],
    )
    def test_other_filters_beside_it(
        self, tmp_path: Path, changes: dict[str, object], option: str
    ) -> None:
        paths = write(tmp_path, retail__csv=retail_csv().encode())
        with pytest.raises(InputError, match="says itself what is left out") as caught:
            prepare(
                read("online-retail", paths, PAPER),
                PrepareSettings.model_validate(changes),
                tmp_path / "out",
            )
        assert caught.value.where == f"{option} --recipe paper"
        assert not (tmp_path / "out").exists()

    def test_the_command_refuses_before_it_reads(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        missing = str(tmp_path / "missing.csv")
        out = str(tmp_path / "out")
        command = ["preprocess", missing, "--recipe", "paper", "--out", out]
        assert main([*command, "--k-core", "3"]) == 2
        assert "--k-core --recipe paper" in capsys.readouterr().err
        assert main([*command, "--format", "table"]) == 2
        assert "this format has no recipes" in capsys.readouterr().err


def test_the_command_says_what_a_recipe_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        (str(invoice), f"8512{item}", f"GOOD {item}", "1", "12/1/2010 8:26", "1", "", "France")
        for invoice in range(6)
        for item in range(6)
    ]
    paths = write(tmp_path, retail__csv=retail_csv([*rows, rows[0]]).encode())
    out = tmp_path / "out"
    assert (
        main(["preprocess", str(paths[0]), "--recipe", "paper", "--out", str(out), "--json"]) == 0
    )
    said = capsys.readouterr()
    assert RECIPES["online-retail"]["paper"] in said.err
    assert json.loads(said.out)["interactions"] == 36
    assert Dataset.open(out).manifest.settings["read"]["recipe"] == "paper"
