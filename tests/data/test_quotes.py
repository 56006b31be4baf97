"""Quotes: find what stray quotes swallow; where quotes have no meaning, keep them as text."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miracle_core.data.readers import ReadOptions, opening, read
from miracle_core.data.readers.delimited import read_header, read_rows
from miracle_core.data.readers.lines import Layout
from miracle_core.data.readers.opening import expand
from miracle_core.data.skips import Skips
from miracle_core.errors import InputError
from tests.data.support import refused

TIMED = ReadOptions(time="when")
SKIP = ReadOptions(time="when", on_error="skip")
HEADER = "user_id,item_id,when,title\n"
ROWS = [f"u{n % 6},i{n % 9},{n},Thing {n % 9}" for n in range(36)]
CLOSED_LATER = [
    # The new text of two rows; the second stray quote is where a field may end.
    ('u1,i7,7,"Thing 7', 'u3,i6,15,"Thing 6'),
    ('u1,i7,7,"Thing 7', 'u3,i6,15,Thing 24"'),
    ('u1,i7,7,"Thing 7', 'u3,i6,15",Thing 6'),
    ('u1,"i7,7,Thing 7', 'u3,"i6,15,Thing 6'),
    ('"u1,i7,7,Thing 7', '"u3,i6,15,Thing 6'),
    ('"u1,i7,7,Thing 7', 'u3",i6,15,Thing 6'),
    ('u1,i7,7,"Thing 7', 'u3",i6,15,Thing 6'),
]


def write(path: Path, lines: list[str], separator: str = ",") -> Path:
    text = HEADER + "".join(f"{line}\n" for line in lines)
    path.write_text(text.replace(",", separator))
    return path


def with_two_quotes(first: str, second: str) -> list[str]:
    rows = list(ROWS)
    rows[7], rows[15] = first, second
    return rows


@pytest.mark.parametrize(
    ("first", "second"), [*CLOSED_LATER, ('u1,"i7,7,Thing 7', 'u3,i6",15,"Thing, 6"')]
)
def test_an_even_number_of_stray_quotes_in_csv(tmp_path: Path, first: str, second: str) -> None:
    path = write(tmp_path / "shop.csv", with_two_quotes(first, second))
    error = refused("table", [path], TIMED)
    assert error.where == f"{path}:9"
    assert "quote" in error.what
    found = read("table", [path], SKIP)
    left_out = sum(skip["rows"] for skip in found.skipped)
    assert found.events.height + left_out == 36
    # Every row without a stray quote is read unchanged.
    kept = set(found.events["time"].to_list())
    assert set(range(36)) - {7, 15} <= kept
    assert found.skipped[0]["first"] == "shop.csv:9"


@pytest.mark.parametrize("column", [0, 1, 3])
def test_values_that_begin_with_a_space_hide_no_rows(tmp_path: Path, column: int) -> None:
    """In every second row, there is a space after a separator."""
    rows = []
    for n, row in enumerate(ROWS):
        fields = row.split(",")
        fields[column] = (" " if n % 2 else "") + fields[column]
        rows.append(fields)
    for first, second in (('"Thing', '"Thing'), ('"Thing', 'Thing"')):
        lines = [",".join(fields) for fields in rows]
        for at, title in ((7, first), (25, second)):
            lines[at] = ",".join([*rows[at][:3], title])
        path = write(tmp_path / "shop.csv", lines)
        error = refused("table", [path], TIMED)
        assert error.where == f"{path}:9"
        assert "would swallow line 10, which has as many fields as a row" in error.what
        found = read("table", [path], SKIP)
        assert set(found.events["time"].to_list()) >= set(range(36)) - {7, 25}
        assert found.events.height + sum(skip["rows"] for skip in found.skipped) == 36


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        # These may be rows or a text. Nothing tells which, so all is left out.
        ('"Good,\nsoft, cosy, nice, really\nand warm"', 3),
        ('"Good\nsoft, cosy, nice, really"', 2),
        ('"Good\n\nsoft,cosy,nice,really\nwarm"', 3),
    ],
)
def test_a_text_with_a_line_like_a_row(tmp_path: Path, text: str, left_out: int) -> None:
    path = write(tmp_path / "shop.csv", [*ROWS[:5], f"u,a,99,{text}", *ROWS[5:]])
    error = refused("table", [path], ReadOptions())
    assert error.where == f"{path}:7"
    assert "remove the line breaks" in (error.remedy or "")
    found = read("table", [path], ReadOptions(on_error="skip"))
    (skipped,) = found.skipped
    assert (skipped["rows"], skipped["first"]) == (left_out, "shop.csv:7")
    kept = [tuple(row.split(",")[:2]) for row in ROWS]
    assert found.events.select("user_id", "item_id").rows() == kept


@pytest.mark.parametrize(("first", "second"), CLOSED_LATER)
def test_stray_quotes_between_tabs_are_ordinary(tmp_path: Path, first: str, second: str) -> None:
    path = write(tmp_path / "shop.tsv", with_two_quotes(first, second), "\t")
    for options in (ReadOptions(), ReadOptions(on_error="skip")):
        found = read("table", [path], options)
        assert found.events.height == 36
        assert any("quotes" in note for note in found.notes)
        assert not found.skipped


def test_atomic_files_have_no_quoting(tmp_path: Path) -> None:
    (tmp_path / "T.inter").write_text(
        'user_id:token\titem_id:token\ttimestamp:float\n"u\ta\t1\nv\ta\t2\nu"\tb\t3\n"u"\tb\t4\n'
    )
    (tmp_path / "T.item").write_text('item_id:token\ttitle:token_seq\na\t"Lamp\nb\tMug 5"\n')
    found = read("atomic", [tmp_path])
    assert found.events["user_id"].to_list() == ['"u', "v", 'u"', '"u"']
    assert found.items["title"].to_list() == ['"Lamp', 'Mug 5"']


def test_tabs_with_quoting_as_csv_has_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.tsv"
    path.write_text(
        'user_id\titem_id\twhen\ttitle\nu\ta\t1\t"Disk 5"" wide"\nu\tb\t2\t"A\tB"\n'.replace(
            "when", '"when"'
        )
    )
    found = read("table", [path], TIMED)
    assert found.items["title"].to_list() == ['Disk 5" wide', "A B"]
    assert not any("quotes" in note for note in found.notes)


def test_a_field_that_spans_lines(tmp_path: Path) -> None:
    rows = [
        'u,a,1,"Lamp, warm, soft,\ncosy, and nice, really\n\n""big"""',
        "u,b,2,Mug",
        'u,c,3,"two\r\nlines"',
        "u,d,x,Late",
    ]
    path = write(tmp_path / "shop.csv", rows[:3])
    found = read("table", [path], TIMED)
    assert found.items["title"].to_list() == [
        'Lamp, warm, soft, cosy, and nice, really "big"',
        "Mug",
        "two lines",
    ]
    path = write(tmp_path / "shop.csv", rows)
    assert refused("table", [path], TIMED).where == f"{path}:9"


def test_a_first_field_that_spans_lines(tmp_path: Path) -> None:
    """The last line of the field has as many separators as a row."""
    path = tmp_path / "goods.csv"
    path.write_text('title,user_id,item_id,when\n"two\nlines",u,a,1\n"\nMug",u,b,2\nJar,u,c,3\n')
    found = read("table", [path], TIMED)
    assert found.items["title"].to_list() == ["two lines", "Mug", "Jar"]


def test_quotes_inside_a_field_mean_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "shop.csv", ['u,a,1,Disk 5" wide', 'u,b,2,24" Monitor', "u,c,3,Jar"])
    assert read("table", [path], TIMED).items["title"].to_list() == [
        'Disk 5" wide',
        '24" Monitor',
        "Jar",
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('u,a,1,"Lamp" big', "a quote in the middle of a quoted field"),
        ('u,a,1,"Lamp', "a quote that is not closed"),
        ('u,a,1,"Lamp\nu,b,5', "a quote that is not closed"),
        ("u,a,1,La\rmp", "a carriage return in the middle of a line"),
        ('u,a,1,"La"\r"mp"', "a carriage return in the middle of a line"),
    ],
)
def test_reasons_are_told(tmp_path: Path, row: str, reason: str) -> None:
    path = write(tmp_path / "shop.csv", ["u,z,0,Zero", row])
    error = refused("table", [path], TIMED)
    assert error.where == f"{path}:3"
    found = read("table", [path], SKIP)
    assert found.events.height == 1
    assert found.skipped[0]["reason"] == reason


def test_a_field_of_a_thousand_lines_is_no_field(tmp_path: Path) -> None:
    path = write(tmp_path / "shop.csv", ['u,a,1,"x', *["x"] * 1200, 'y"', "u,b,2,Mug"])
    assert "1,000 lines" in refused("table", [path], TIMED).what


def test_across_the_borders_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_LINES", 64)
    text = '"a\n' + "long line without end\n" * 8 + 'b"'
    rows = [*ROWS[:9], f"u9,long,9,{text}", *ROWS[10:]]
    path = write(tmp_path / "shop.csv", [*rows, "u,i0,soon,T"])
    assert refused("table", [path], TIMED).where == f"{path}:{1 + 36 + 9 + 1}"
    found = read("table", [write(tmp_path / "shop.csv", rows)], TIMED)
    assert found.events["time"].to_list() == list(range(36))
    assert found.items.filter(found.items["item_id"] == "long")["title"][0].endswith("end b")


FIELD = st.text('ab",;\n\r\t ', max_size=6)


@given(
    rows=st.lists(st.lists(FIELD, min_size=3, max_size=3), min_size=1, max_size=6),
    broken=st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(['"', "\n", ",", '"\n"'])), max_size=3
    ),
    separator=st.sampled_from([",", ";"]),
)
@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_is_read_is_what_pythons_csv_reads(
    tmp_path: Path, rows: list[list[str]], broken: list[tuple[int, str]], separator: str
) -> None:
    """If our reader accepts a file, Python's strict reader gives the same rows."""
    sink = io.StringIO()
    csv.writer(sink, delimiter=separator, lineterminator="\n").writerows([["x", "y", "z"], *rows])
    text = sink.getvalue()
    for at, more in broken:
        at = 6 + at % (len(text) - 5)  # keep the header intact
        text = text[:at] + more + text[at:]
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    (raw,) = expand([path])
    layout = Layout(separator, quoted=True)
    names, _ = read_header(raw, layout)
    assert names == ["x", "y", "z"]
    try:
        found = read_rows(raw, layout, names).rows.rows()
    except InputError as error:
        assert error.where
        found = None
    if found is not None:
        theirs = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
        assert found == [tuple(row) for row in theirs[1:] if row]
    skips = Skips(allowed=True)
    try:
        kept = read_rows(raw, layout, names, skips=skips).rows.height
    except InputError:
        kept = 0
    # No line that is a row by itself is lost.
    assert kept + sum(count for count, _ in skips.found.values()) >= len(alone(text, separator))


def alone(text: str, separator: str) -> list[list[str]]:
    """The lines that are rows of three fields by themselves, as Python's csv reads them."""
    found = []
    for line in text.split("\n")[1:]:
        try:
            found += [row for row in csv.reader([line], delimiter=separator, strict=True) if row]
        except csv.Error:
            continue
    return [row for row in found if len(row) == 3]
