"""Reading a large file reports how many rows were read, each counted once."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from miracle_core.data.readers import ReadOptions, opening, read

ROWS = 3000


class Listener:
    """Records the progress of each stage."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.said: dict[str, list[int]] = {}

    def start(self, what: str, total: int | None, unit: str) -> None:
        self.open.append(f"{what} {unit}".strip())

    def advance(self, amount: int) -> None:
        self.said.setdefault(self.open[-1], []).append(amount)

    def finish(self) -> None:
        self.open.pop()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use small blocks, so that files of a few thousand rows act like large ones."""
    monkeypatch.setattr(opening, "_LINES", 1 << 13)


def table(last: str) -> str:
    rows = "".join(f"u{n % 7},i{n % 11},{n},Lamp {n % 11}\n" for n in range(ROWS - 1))
    return f"user_id,item_id,when,title\n{rows}{last}\n"


def told(source: Path, options: ReadOptions, form: str = "table") -> list[int]:
    listener = Listener()
    found = read(form, [source], options, listener)
    assert found.events.height in (ROWS, ROWS - 1)
    hashed = listener.said["hashing the sources bytes"]
    assert sum(hashed) == source.stat().st_size
    return listener.said[f"reading {source.name} rows"]


def test_delimited_text_block_by_block(tmp_path: Path) -> None:
    source = tmp_path / "shop.csv"
    source.write_text(table("u,i1,7,Lamp"))
    said = told(source, ReadOptions(time="when"))
    assert sum(said) == ROWS
    assert len(said) > 5


@pytest.mark.parametrize("quote", ["", '"Lamp, big"'])
def test_with_rows_that_are_left_out(tmp_path: Path, quote: str) -> None:
    source = tmp_path / "shop.csv"
    source.write_text(table(f"u,i1,7,{quote}\nu,i1"))
    said = told(source, ReadOptions(time="when", on_error="skip"))
    assert sum(said) == ROWS
    assert len(said) > 5


def test_rows_that_are_read_twice_count_once(tmp_path: Path) -> None:
    ratings = tmp_path / "r.csv"
    rows = [f"A{n % 7:013d},B{n % 11:09d},5.0,{n}" for n in range(ROWS - 1)]
    # The last time is not a whole number, so the number columns are read again as text.
    ratings.write_text("\n".join([*rows, f"A{1:013d},B{1:09d},5.0,3.5"]) + "\n")
    (tmp_path / "meta_r.json").write_text(
        "".join(f'{{"asin": "B{n:09d}", "title": "T"}}\n' for n in range(11))
    )
    listener = Listener()
    assert read("amazon2018", [tmp_path], None, listener).events.height == ROWS
    assert sum(listener.said["reading r.csv rows"]) == ROWS
    assert sum(listener.said["reading meta_r.json rows"]) == 11


def test_parquet_group_by_group(tmp_path: Path) -> None:
    source = tmp_path / "shop.parquet"
    pl.DataFrame(
        {"user_id": ["u"] * ROWS, "item_id": ["a"] * ROWS, "title": ["Lamp"] * ROWS}
    ).write_parquet(source, row_group_size=1000)
    assert told(source, ReadOptions()) == [1000, 1000, 1000]
