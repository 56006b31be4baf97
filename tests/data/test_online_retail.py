"""Online Retail as CSV and as a workbook."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from miracle_core.data.interactions import Interactions
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import ReadOptions, read
from miracle_core.data.verify import verify
from tests.data.support import (
    HEADER,
    RETAIL,
    refused,
    retail_csv,
    workbook,
    write,
)


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
        }
        assert found.events["time"].is_sorted()
        assert [(step["step"], step["interactions"]) for step in found.steps] == [
            ("as found in the files", 7),
            ("cancelled invoices dropped", 6),
            ("quantities below 1 dropped", 5),
            ("rows without a customer dropped", 4),
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
        names = [step["step"] for step in found.steps]
        assert "rows without an invoice dropped" in names
        assert len(set(names)) == len(names)
        assert "'Country'" in refused("online-retail", paths, ReadOptions(user="Country")).what

    def test_codes_that_are_no_goods_are_told(self, tmp_path: Path) -> None:
        codes = ["POST", "M", "D", "POST", "BANK CHARGES", "C2", "DOT"]
        rows = [(*RETAIL[0][:1], code, *RETAIL[0][2:]) for code in codes]
        paths = write(tmp_path, retail__csv=retail_csv([*RETAIL, *rows]).encode())
        found = read("online-retail", paths)
        note = next(note for note in found.notes if "StockCode" in note)
        assert note.startswith("7 rows have a StockCode that is not a product (POST, BANK CHARGES")
        assert found.events.height == 3 + 7  # reported and kept
        plain = read("online-retail", write(tmp_path, retail__csv=retail_csv().encode()))
        assert not any("StockCode" in note for note in plain.notes)

    def test_workbook(self, tmp_path: Path) -> None:
        path = tmp_path / "Online Retail.xlsx"
        path.write_bytes(workbook(RETAIL))
        for form in ("online-retail", "auto"):
            self.check(read(form, [path]))

    def test_the_published_archive_holds_the_workbook(self, tmp_path: Path) -> None:
        path = tmp_path / "online-retail.zip"
        bad = (*RETAIL[0][:3], "many", *RETAIL[0][4:])
        for rows in (RETAIL, [*RETAIL, bad]):
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("Online Retail.xlsx", workbook(rows))
            if rows is RETAIL:
                for form in ("online-retail", "auto"):
                    self.check(read(form, [path]))
        where = refused("online-retail", [path]).where
        assert where == f"{path}!Online Retail.xlsx!Sheet1:9"

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

    def test_skipped_rows_are_a_step_after_those_that_were_counted(self, tmp_path: Path) -> None:
        text = retail_csv().replace("536380,85123A", "536380,")
        paths = write(tmp_path, retail__csv=text.encode())
        found = read("online-retail", paths, ReadOptions(on_error="skip"))
        (skipped,) = found.skipped
        assert (skipped["reason"], skipped["rows"], skipped["first"]) == (
            "no item_id",
            1,
            "retail.csv:5",
        )
        assert found.steps[-1]["interactions"] == found.events.height
        prepare(found, PrepareSettings(k_core=0), tmp_path / "out")
        verify(tmp_path / "out")

    @pytest.mark.parametrize(
        ("old", "new", "line", "what"),
        [
            ("Quantity", "Amount", 1, "no column 'Quantity'"),
            ("12/13/2010 9:41", "yesterday", 5, "'yesterday' is not a time"),
            (",56,", ",x,", 7, "'x' is not a number"),
            ("22139", "", 7, "has no item_id"),
        ],
    )
    def test_bad_cells(self, tmp_path: Path, old: str, new: str, line: int, what: str) -> None:
        paths = write(tmp_path, retail__csv=retail_csv().replace(old, new).encode())
        error = refused("online-retail", paths)
        assert (error.where, what in error.what) == (f"{paths[0]}:{line}", True)
