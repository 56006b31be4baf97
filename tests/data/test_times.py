"""Parsing times: a column has one format; other values are reported or left out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import ReadOptions, read
from miracle_core.data.readers.moments import parse_moment
from miracle_core.data.readers.times import parse_times
from miracle_core.data.readers.units import unit_of
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError
from tests.data.support import META_2023, RETAIL, lines, refused, retail_csv

place = "row {}".format


def moments(values: list[object], notes: list[str] | None = None) -> list[datetime]:
    times = parse_times(pl.Series("when", values), place, None, notes)
    assert times.dtype == pl.Int64
    return [datetime(1970, 1, 1) + timedelta(microseconds=time) for time in times]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2024-01-31T12:00:00Z", "2024-01-31T12:00:00"),
        ("2024-01-31T12:00:00+01:00", "2024-01-31T11:00:00"),
        ("2024-01-31T12:00:00-0530", "2024-01-31T17:30:00"),
        ("2024-01-31 12:00:00+02", "2024-01-31T10:00:00"),
        ("2024-01-31 12:00:00 UTC", "2024-01-31T12:00:00"),
        ("2024-01-31T12:00", "2024-01-31T12:00:00"),
        ("2024-01-31T12:00Z", "2024-01-31T12:00:00"),
        ("2024-01-31 12:00:00.25", "2024-01-31T12:00:00.250000"),
        ("2024-01-31T12:00:00,123456789Z", "2024-01-31T12:00:00.123456"),
        ("2024-01-31", "2024-01-31T00:00:00"),
        ("2024/1/31 9:05", "2024-01-31T09:05:00"),
        ("20240131T120000Z", "2024-01-31T12:00:00"),
        ("20240131", "2024-01-31T00:00:00"),
        ("202401311205", "2024-01-31T12:05:00"),
        ("20240131120507", "2024-01-31T12:05:07"),
        ("31/01/2024 12:05", "2024-01-31T12:05:00"),
        ("31.01.2024", "2024-01-31T00:00:00"),
        ("1/31/2024 12:05 AM", "2024-01-31T00:05:00"),
        ("1/31/24 1:05 PM", "2024-01-31T13:05:00"),
        ("01-31-2024 13:05:06", "2024-01-31T13:05:06"),
    ],
)
def test_every_way_that_is_read(written: str, meant: str) -> None:
    assert moments([written]) == [datetime.fromisoformat(meant)]


def test_dates_beside_times_and_zones_in_one_column() -> None:
    column = [
        "2024-01-31T12:00:00+01:00",
        "2024-01-31",
        "2024-01-31T11:00:00.5Z",
        "2024-01-31 12:30",
    ]
    hours = [(moment - datetime(2024, 1, 31)).total_seconds() / 3600 for moment in moments(column)]
    assert hours == [11, 0, 11 + 0.5 / 3600, 12.5]


@pytest.mark.parametrize(
    "value",
    [
        *("2024-02-30", "2024-13-01", "2024-01-01 24:00", "2024-01-01 12:60", "24-01-31"),
        *("13 PM", "1/31/2024 13:05 PM", "32/01/2024", "soon", "", "2024", "12:00", "2024-01-31x"),
    ],
)
def test_what_is_no_time(value: str) -> None:
    good = ["2024-01-31", "2024-02-01"]
    if "/" in value:
        good = ["31/01/2024", "30/01/2024"] if value[0] == "3" else ["1/30/2024", "1/31/2024"]
    with pytest.raises(InputError, match="is not a time as the others are") as caught:
        moments([*good, value])
    assert caught.value.where == "row 2"
    times = parse_times(pl.Series([*good, value]), place, Skips(allowed=True))
    assert times.is_null().to_list() == [False, False, True]


class TestDayOrMonth:
    def test_by_the_whole_column(self) -> None:
        day = moments(["1/2/2011 8:26", "13/1/2011 9:00"])
        month = moments(["1/2/2011 8:26", "1/13/2011 9:00"])
        assert [time.month for time in day + month] == [2, 1, 1, 1]

    def test_the_row_that_breaks_the_column_is_named(self) -> None:
        rows = [f"{day}/3/2011 9:00" for day in range(1, 26)]
        for broken in ("yesterday", "3/25/2011 9:00", "2011-03-25", "1299024000"):
            column = [*rows[:20], broken, *rows[20:]]
            with pytest.raises(InputError, match="the day first") as caught:
                moments(column)
            assert (caught.value.where, repr(broken) in caught.value.what) == ("row 20", True)
            times = parse_times(pl.Series(column), place, Skips(allowed=True))
            assert times.null_count() == 1
            assert times.drop_nulls().is_sorted()

    def test_two_ways_in_one_column_are_refused_even_where_rows_may_be_skipped(self) -> None:
        column = ["13/1/2011", "1/2/2011", "1/14/2011", "3/4/2011"]
        for skips in (Skips(), Skips(allowed=True)):
            with pytest.raises(InputError, match=r"'1/14/2011' \(row 2\) the month") as caught:
                parse_times(pl.Series(column), place, skips)
            assert caught.value.where == "row 0"

    def test_where_nothing_tells_it_is_said(self) -> None:
        for column, month in ((["1/2/2011", "3/4/2011"], 1), (["1.2.2011", "3.4.2011"], 2)):
            notes: list[str] = []
            assert moments(list(column), notes)[0].month == month
            assert "whether the day or the month" in notes[0]
        notes = []
        assert moments(["2/2/2011", "3/3/2011"], notes)
        assert not notes  # both readings give the same times


class TestNumbers:
    def test_digits_are_dates_of_whatever_type(self) -> None:
        for column in (
            ["20240110000000", "20240111000000"],
            [20240110000000, 20240111000000],
            [20240110.0, 20240111.0],
            ["20240110.0", "20240111.0"],
        ):
            notes: list[str] = []
            assert moments(list(column), notes) == [datetime(2024, 1, 10), datetime(2024, 1, 11)]
            assert "20240131" in notes[0]

    def test_a_broken_one_among_them(self) -> None:
        with pytest.raises(InputError, match="'20241310' is not a time as the others are: dates"):
            moments(["20240110", "20241310", "20240111"])

    def test_counters_of_eight_digits_are_numbers(self) -> None:
        values = list(range(20_150_040, 20_150_140))
        assert parse_times(pl.Series(values), place).to_list() == values

    def test_one_unit_a_column(self) -> None:
        rows = [1588687728 + n for n in range(5)]
        with pytest.raises(InputError, match="seconds since 1970") as caught:
            parse_times(pl.Series([*rows, 1588687728923]), place)
        assert caught.value.where == "row 5"
        with pytest.raises(InputError, match="one unit"):
            parse_times(pl.Series([*rows, *(row * 1000 for row in rows)]), place, Skips(True))
        for scale in (1, 1000):
            for other in ("20200505", "20200505120000", "202005051200", str(1588687728 * 1000**2)):
                column = pl.Series([*(str(row * scale) for row in rows), other])
                with pytest.raises(InputError, match="is not a time as the others are") as caught:
                    parse_times(column, place)
                assert (caught.value.where, repr(other) in caught.value.what) == ("row 5", True)
                times = parse_times(column, place, Skips(allowed=True))
                assert times.to_list() == [*(row * scale for row in rows), None]
        small = [0, 5, 10_000, 123_456_789]
        assert parse_times(pl.Series(small), place).to_list() == small

    @pytest.mark.parametrize(
        "column",
        [
            ["31012024", "01022024", "13032024"],
            ["01312024", "2012024", "03132024"],
            ["20243101", "20240102", "20241303"],
            ["310120241200", "010220241200", "130320241305"],
            ["31012024120059", "01022024120000", "13032024130500"],
        ],
    )
    def test_dates_in_digits_that_do_not_sort_are_refused(self, column: list[str]) -> None:
        for values in (column, [int(value) for value in column], [float(v) for v in column]):
            for skips in (Skips(), Skips(allowed=True)):
                with pytest.raises(InputError, match="date in digits") as caught:
                    parse_times(pl.Series(values), place, skips)
                assert caught.value.where == "row 0"

    def test_what_a_number_may_mean_is_told(self) -> None:
        for column, said in (
            ([240131, 240201, 240313], "240131 are read as mere numbers"),
            ([1588687728 + n for n in range(5)] + [0, -1], "2 times are before 1973"),
            ([1, 2, 3, 1588687728], "though some have the size of seconds since 1970"),
            (["24/01/31", "24/01/30", "24/02/01", "24/02/02"], "years have two digits"),
        ):
            notes: list[str] = []
            parse_times(pl.Series(column), place, None, notes)
            assert any(said in note for note in notes), notes
        for silent in ([1, 2, 3], [1588687728, 1588687729], [500_001, 500_002, 500_093]):
            notes = []
            assert parse_times(pl.Series(silent), place, None, notes).to_list() == silent
            assert not notes
        notes = []
        assert moments(["31/01/24", "30/01/24", "01/02/24"], notes)
        assert not notes

    def test_times_without_their_last_digits(self) -> None:
        shown = ["1.58869E+12", "1.58870E+12", "1588687728923"]
        for skips in (Skips(), Skips(allowed=True)):
            with pytest.raises(InputError, match="lost its last digits") as caught:
                parse_times(pl.Series(shown), place, skips)
            assert caught.value.where == "row 0"
        complete = ["1.588687728923E12", "1.5886877E12"]  # the second one ends in zeros
        times = parse_times(pl.Series(complete), place)
        assert times.to_list() == [1588687728923, 1588687700000]


class TestZones:
    @pytest.mark.parametrize(
        "zone", ["+25:00", "+01:75", "+14:30", "-13:00", "-12:01", "+1:00", "+15", "+0160"]
    )
    def test_there_is_no_such_zone(self, zone: str) -> None:
        good = "2024-01-31T12:00:00+01:00"
        for written in (
            f"2024-01-31T12:00:00{zone}",
            f"31/01/2024 12:00{zone}",
            f"20240131T1200{zone}",
        ):
            other = good if written[4] == "-" else written.removesuffix(zone) + "Z"
            with pytest.raises(InputError, match="is not a time as the others are") as caught:
                parse_times(pl.Series([other, other, written]), place)
            assert caught.value.where == "row 2"
            if "/" not in written:
                with pytest.raises(InputError, match="neither a date"):
                    parse_moment(written, "s")

    @pytest.mark.parametrize(
        ("zone", "hours"), [("+14:00", -14), ("-12:00", 12), ("+05:45", -5.75), ("-0930", 9.5)]
    )
    def test_the_outermost(self, zone: str, hours: float) -> None:
        (moment,) = moments([f"2024-01-31T12:00:00{zone}"])
        assert moment == datetime(2024, 1, 31, 12) + timedelta(hours=hours)
        seconds = moment.replace(tzinfo=UTC).timestamp()
        assert parse_moment(f"2024-01-31T12:00:00{zone}", "s") == seconds


class TestParquet:
    def read(self, tmp_path: Path, *columns: pl.Series) -> list[int]:
        paths = []
        for number, column in enumerate(columns):
            paths.append(tmp_path / f"{number}.parquet")
            frame = pl.DataFrame({"user_id": "u", "item_id": "a", "title": "T", "when": column})
            frame.write_parquet(paths[-1])
        found = read("table", paths, ReadOptions(time="when"))
        return found.events["time"].to_list()

    def test_zones(self, tmp_path: Path) -> None:
        noon = datetime(2024, 1, 31, 12)
        utc = pl.Series([noon]).dt.replace_time_zone("UTC")
        berlin = pl.Series([noon]).dt.replace_time_zone("Europe/Berlin")
        times = self.read(tmp_path, utc, berlin, pl.Series([noon]), pl.Series([noon.date()]))
        hours = [(times[0] - time) / 3.6e9 for time in times]
        assert hours == [0, 1, 0, 12]
        assert times[0] == noon.replace(tzinfo=UTC).timestamp() * 1e6

    def test_nanoseconds(self, tmp_path: Path) -> None:
        noon = pl.Series([datetime(2024, 1, 31, 12)])
        first, second = self.read(
            tmp_path, noon.cast(pl.Datetime("ns")), noon.cast(pl.Datetime("ms"))
        )
        assert first == second

    def test_a_date_beside_text(self, tmp_path: Path) -> None:
        text = pl.Series(["2024-01-31T12:00:00+02:00"])
        times = self.read(tmp_path, text, pl.Series([date(2024, 1, 31)]))
        assert times[0] - times[1] == 10 * 3600 * 10**6

    @pytest.mark.parametrize(
        ("value", "apart"), [(1588687728.0, "128"), (20240131.0, "2"), (1588687728e3, "131072")]
    )
    def test_floats_of_32_bits(self, tmp_path: Path, value: float, apart: str) -> None:
        narrow = pl.Series([1.0, value], dtype=pl.Float32)
        for columns in ([narrow], [narrow, pl.Series([1, 2])]):
            with pytest.raises(InputError, match=f"multiples of {apart}") as caught:
                self.read(tmp_path, *columns)
            assert caught.value.where == f"{tmp_path}/0.parquet: row 2"
        assert self.read(tmp_path, pl.Series([1.5, 2.0**24 - 1], dtype=pl.Float32)) == [
            1.5,
            2**24 - 1,
        ]

    def test_numbers_that_fit_no_time(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="'9223372036854775813' is not a time") as caught:
            self.read(tmp_path, pl.Series([1, 2, 2**63 + 5], dtype=pl.UInt64))
        assert caught.value.where == f"{tmp_path}/0.parquet: row 3"
        assert self.read(tmp_path, pl.Series([1, 2**40], dtype=pl.UInt64)) == [1, 2**40]

    def test_decimals(self, tmp_path: Path) -> None:
        column = pl.Series(["1588687728", "1588687729"]).cast(pl.Decimal(20, 3))
        assert self.read(tmp_path, column) == [1588687728, 1588687729]

    def test_a_time_of_day_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no moment"):
            self.read(tmp_path, pl.Series([datetime(2024, 1, 31, 12)]).dt.time())


class TestMoments:
    @pytest.mark.parametrize(
        "since", ["2024-01-13", "20240113", "20240113000000", "1705104000000000"]
    )
    def test_since_in_a_column_of_digits(self, tmp_path: Path, since: str) -> None:
        rows = [f"u{n % 6},i{n % 6},202401{10 + n // 6}000000,T{n % 6}" for n in range(36)]
        path = tmp_path / "shop.csv"
        path.write_text("\n".join(["user_id,item_id,when,title", *rows]) + "\n")
        found = read("table", [path], ReadOptions(time="when"))
        kept = prepare(found, PrepareSettings(k_core=0, since=since), tmp_path / "out")
        assert kept.n_interactions == 18

    @pytest.mark.parametrize(
        ("text", "unit"),
        [
            ("2024-01-13", ""),  # file order, or a counter
            ("1705104000", "ms"),
            ("1705104000000", "s"),
            ("2024", "s"),
            ("1705104000", ""),
        ],
    )
    def test_what_cant_be_compared_is_refused(self, text: str, unit: str) -> None:
        with pytest.raises(InputError, match="can't be compared"):
            parse_moment(text, unit)

    def test_digits_are_dates_where_times_are(self) -> None:
        day = datetime(2024, 1, 13, tzinfo=UTC).timestamp()
        assert parse_moment("20240113", "s") == day
        assert parse_moment("20240113", "us") == day * 10**6
        assert parse_moment("20240113", "") == 20240113
        assert parse_moment("2024-01-13T01:00:00+01:00", "ms") == day * 1000

    def test_a_date_without_a_column_of_times(self, tmp_path: Path) -> None:
        path = tmp_path / "shop.csv"
        path.write_text("user_id,item_id,title\nu,a,A\nu,b,B\n")
        found = read("table", [path])
        assert unit_of(found.events["time"]) == ""
        with pytest.raises(InputError, match="order of the file") as caught:
            prepare(found, PrepareSettings(k_core=0, until="2024-01-13"), tmp_path / "out")
        assert caught.value.where == "--until"


class TestSeveralFiles:
    """Files that parse one by one are read in one common unit."""

    def test_reviews_in_seconds_and_in_milliseconds(self, tmp_path: Path) -> None:
        files = {"meta_T.jsonl": META_2023}
        for name, scale in (("T.jsonl", 1000), ("U.jsonl", 1)):
            files[name] = lines(
                *(
                    {"user_id": u, "parent_asin": "B1", "rating": 5, "timestamp": time * scale}
                    for u, time in zip("uvw", range(1588687728, 1588687731), strict=True)
                )
            )
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        error = refused("amazon2023", [tmp_path])
        assert "one unit" in (error.remedy or "")
        assert {f"{tmp_path}/T.jsonl:1", f"{tmp_path}/U.jsonl:1"} >= {error.where}

    def test_dates_beside_epochs(self, tmp_path: Path) -> None:
        (tmp_path / "games.json").write_bytes(lines({"app_name": "Bat", "id": "1"}))
        for name, times in (
            ("a.json", ["2018-01-02", "2018-01-03", "2018-01-04"]),
            ("b.json", [1588687728]),
        ):
            played = ({"username": "u", "product_id": "1", "date": time} for time in times)
            (tmp_path / name).write_bytes(lines(*played))
        error = refused("steam", [tmp_path])
        assert "'1588687728' is not a time as the others are" in error.what
        assert error.where == f"{tmp_path}/b.json:1"


class TestRetail:
    ROWS: ClassVar = [
        (*RETAIL[0][:4], f"{n % 28 + 1}/3/2011 9:{n:02d}", *RETAIL[0][5:]) for n in range(40)
    ]

    def test_a_day_first_file_with_one_broken_time(self, tmp_path: Path) -> None:
        rows = [*self.ROWS]
        rows[30] = (*rows[30][:4], "n/a", *rows[30][5:])
        path = tmp_path / "retail.csv"
        path.write_text(retail_csv(rows))
        with pytest.raises(InputError, match="'n/a' is not a time as the others are") as caught:
            read("online-retail", [path])
        assert caught.value.where == f"{path}:32"
        found = read("online-retail", [path], ReadOptions(on_error="skip"))
        assert found.events.height == 39
        assert {datetime.fromtimestamp(t / 1e6, UTC).month for t in found.events["time"]} == {3}
        (skipped,) = found.skipped
        assert (skipped["rows"], skipped["first"]) == (1, "retail.csv:32")


def test_a_shop_of_which_no_time_can_be_read_tells_why(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_text("user_id,item_id,when,title\n" + "u,a,some day,A\n" * 5)
    with pytest.raises(InputError) as caught:
        read("table", [path], ReadOptions(time="when", on_error="skip"))
    assert "5 rows were skipped" in caught.value.what
    assert "a time that can't be read (rows: 5, the first: shop.csv:2)" in caught.value.what


@pytest.mark.parametrize("kind", [pl.Int8, pl.Int16, pl.Int32, pl.UInt32, pl.Float32])
def test_times_of_a_small_number_type(kind: type[pl.DataType]) -> None:
    times = parse_times(pl.Series("t", [3, 1, None, 2], dtype=kind), lambda row: str(row))
    assert times.to_list() == [3, 1, None, 2]


@pytest.mark.parametrize("date", ["0001-01-01", "1900-01-01", "1970-01-01"])
@pytest.mark.parametrize("typed", [False, True])
def test_dates_that_stand_for_none_are_told(date: str, typed: bool) -> None:
    text = pl.Series([date, "2024-01-31", date])
    notes: list[str] = []
    times = parse_times(text.str.to_date() if typed else text, "row {}".format, notes=notes)
    assert times.null_count() == 0
    assert len(notes) == 1
    assert f"2 times are {date}" in notes[0]
    assert "row 0" in notes[0]
    parse_times(text[:2], "row {}".format, notes=(once := []))
    assert not once
