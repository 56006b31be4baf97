"""``miracle preprocess``: from the shell to a folder, with nothing written on failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from miracle_cli.main import main
from miracle_core.data import readers
from miracle_core.data.dataset import Dataset

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRACLE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A table of 6 users with 6 items each, out of order, and a file with the items."""
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = [f"u{user},i{(user + n) % 8},{50 - n}" for user in range(6) for n in range(6)]
    (folder / "sales.csv").write_text("\n".join(["customer,sku,day", *rows]) + "\n")
    names = [f"i{n},[red]Thing[/red] {n},Shelf &amp; {n}" for n in range(8)]
    (folder / "goods.csv").write_text("\n".join(["sku,label,shelf", *names]) + "\n")
    return folder


def arguments(shop: Path, out: Path, *more: str) -> list[str]:
    return [
        *("preprocess", str(shop / "sales.csv"), "--format", "table", "--out", str(out)),
        *("--user-column", "customer", "--item-column", "sku", "--time-column", "day"),
        *("--title-column", "label", "--text-column", "shelf"),
        *("--items", str(shop / "goods.csv"), *more),
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_second_one_is_refused_while_the_first_still_reads(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "out"
    read, second = readers.read, []

    def reading(*given: Any) -> Any:
        command = [sys.executable, "-m", "miracle_cli", *arguments(shop, out, "--k-core", "0")]
        second.append(subprocess.run(command, capture_output=True, text=True, check=False))
        return read(*given)

    monkeypatch.setattr(readers, "read", reading)
    assert main(arguments(shop, out, "--k-core", "3")) == 0
    assert second[0].returncode == 2, second[0].stderr
    assert "is writing here" in second[0].stderr
    assert Dataset.open(out).manifest.settings["k_core"] == 3
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_figures_on_screen(shop: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(arguments(shop, tmp_path / "out", "--k-core", "3")) == 0
    out, err = capsys.readouterr()
    table = [line.split() for line in out.splitlines()]
    assert ["dataset", "users", "items", "interactions", "density", "mean", "length"] in table
    assert ["sales", "6", "8", "36", "75.000%", "6.00"] in table
    assert ["3-core", "6", "8", "36"] in table
    assert "reading sales.csv" in err
    assert "\x1b" not in out + err
    dataset = Dataset.open(tmp_path / "out")
    assert dataset.items.row(0)[:3] == ("i0", "[red]Thing[/red] 0", "[red]Thing[/red] 0. Shelf & 0")
    # Within a day, the latest row of the file comes first.
    ids = dataset.items["item_id"].to_list()
    assert [ids[item] for item in dataset.sequence(1)] == [f"i{n}" for n in (6, 5, 4, 3, 2, 1)]


def test_json_is_all_there_is(shop: Path, tmp_path: Path, capsys: Capture) -> None:
    more = ("--json", "--name", "Shop", "--k-core", "4")
    assert main(arguments(shop, tmp_path / "out", *more)) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert found["dataset"] == "Shop"
    assert (found["users"], found["items"], found["interactions"]) == (6, 8, 36)
    assert found["settings"]["k_core"] == 4
    assert [step["step"] for step in found["steps"]] == [
        "as read",
        "items nobody took dropped",
        "4-core",
    ]
    assert found["settings"]["read"]["columns"]["time"] == "day"
    assert found["steps"][0]["interactions"] == 36


def test_twice_the_same_bytes(shop: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        assert (
            main(arguments(shop, tmp_path / out, "--k-core", "2", "--encoder", "hashing:16")) == 0
        )
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert Dataset.open(tmp_path / "one").features().shape == (8, 16)
    assert main(arguments(shop, tmp_path / "one", "--k-core", "2", "--encoder", "hashing:16")) == 0
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_said_on_screen_what_was_decided(tmp_path: Path, capsys: Capture) -> None:
    source = tmp_path / "log.tsv"
    source.write_text("user_id\titem_id\ttitle\nu\ta\tA\nu\ta\tA\nu\tb\tB\n")
    out = tmp_path / "out"
    command = ["preprocess", str(source), "--format", "table", "--out", str(out), "--k-core", "0"]
    assert main(command) == 0
    err = capsys.readouterr().err
    assert "no --time-column" in err
    assert "1 repeated interaction" in err
    assert f"miracle encode {out}" in err


def test_an_encoder_that_is_not_there_stops_before_reading(
    shop: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(arguments(shop, tmp_path / "out", "--encoder", "./nowhere")) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_encoder_is_loaded_once(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from miracle_core.text import load_encoder

    names = []

    def counted(name: str, *more: Any) -> Any:
        names.append(name)
        return load_encoder(name, *more)

    monkeypatch.setattr("miracle_core.text.load_encoder", counted)
    monkeypatch.setattr("miracle_core.text.encode.load_encoder", counted)
    more = ("--k-core", "2", "--encoder", "hashing:16")
    assert main(arguments(shop, tmp_path / "out", *more)) == 0
    assert names == ["hashing:16"]


def test_an_encoding_that_fails_can_go_on(
    shop: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("miracle_core.text.encode_dataset", stop)
    out = tmp_path / "out"
    assert main(arguments(shop, out, "--k-core", "2", "--encoder", "hashing:16")) == 130
    assert f"to go on: miracle encode {out} --encoder hashing:16" in capsys.readouterr().err
    assert Dataset.open(out).manifest.features == {}


@pytest.mark.parametrize(
    ("more", "where"),
    [
        (["--since", "soon"], "--since"),
        (["--until", "2024-13-01"], "--until"),
        (["--split", "temporal", "--valid-from", "then"], "--valid-from"),
        (["--test-from", "3"], "--valid-from, --test-from"),
        (["--split", "temporal", "--repeats", "last"], "--repeats last"),
        (["--encoder", "hashing:x"], None),
    ],
)
def test_what_fits_no_data_stops_before_reading(
    shop: Path, tmp_path: Path, capsys: Capture, more: list[str], where: str | None
) -> None:
    assert main(arguments(shop, tmp_path / "out", *more)) == 2
    err = capsys.readouterr().err
    assert "reading" not in err
    assert where is None or f"where: {where}\n" in err
    assert "fix: " in err


@pytest.mark.parametrize(
    ("file", "old", "new", "where", "what"),
    [
        ("sales.csv", "customer", "client", "sales.csv:1", "no column 'customer'"),
        ("sales.csv", "u2,i3,49", "u2,i3", "sales.csv:15", "has 2 fields"),
        ("sales.csv", "u2,i3,49", "u2,i3,late", "sales.csv:15", "'late' is not a time"),
        ("sales.csv", "u2,i3,49", "u2,i99,49", "sales.csv:15", "'i99'"),
        ("goods.csv", "[red]Thing[/red] 3,Shelf &amp; 3", " ,", "goods.csv:5", "has no text"),
        ("goods.csv", "i4,", "i3,", "goods.csv:6", "'i3' is there twice"),
        ("goods.csv", "Thing[/red] 5", "Th\udce9ng", "goods.csv:7:11", "UTF-8"),
    ],
)
def test_bad_input_is_named_and_writes_nothing(
    shop: Path,
    tmp_path: Path,
    capsys: Capture,
    file: str,
    old: str,
    new: str,
    where: str,
    what: str,
) -> None:
    path = shop / file
    content = path.read_text()
    assert old in content
    path.write_bytes(content.replace(old, new, 1).encode("utf-8", "surrogateescape"))
    assert main(arguments(shop, tmp_path / "out", "--json")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    error = next(line for line in lines if line.startswith("error: "))
    assert what in error
    assert f"where: {shop / where}" in lines
    assert lines[-1].startswith("fix:   ")
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["raw"]


def test_nothing_left(shop: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(arguments(shop, tmp_path / "out", "--k-core", "7")) == 2
    assert "the 7-core is empty" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["none.csv", "raw"])
def test_sources_that_are_not_there(
    shop: Path, tmp_path: Path, capsys: Capture, source: str
) -> None:
    path = tmp_path / source
    command = ["preprocess", str(path), "--format", "atomic", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert f"where: {path}" in capsys.readouterr().err


def test_what_is_no_dataset_stays(shop: Path, tmp_path: Path, capsys: Capture) -> None:
    before = files(shop)
    assert main(arguments(shop, shop)) == 2
    assert "not overwritten" in capsys.readouterr().err
    assert files(shop) == before


@pytest.mark.real_data
def test_items_without_a_title_in_office2014(
    tmp_path: Path, real_data: Path, capsys: Capture
) -> None:
    source, out = real_data / "office2014" / "Office.csv.gz", tmp_path / "out"
    command = ["preprocess", str(source), "--user-column", "user", "--item-column", "item"]
    command += ["--time-column", "order", "--out", str(out)]
    assert main(command) == 2
    assert "with --on-error skip" in capsys.readouterr().err
    assert main([*command, "--on-error", "skip"]) == 0
    assert "skipped 57 rows: an item without text" in capsys.readouterr().err
    assert Dataset.open(out).n_interactions == 53_149  # of 53,258 before the 5-core


@pytest.mark.real_data
def test_scientific(tmp_path: Path, real_data: Path, capsys: Capture) -> None:
    source, out = str(real_data / "scientific"), str(tmp_path / "out")
    assert main(["preprocess", source, "--format", "atomic", "--out", out, "--json"]) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert (found["users"], found["items"], found["interactions"]) == (8442, 4385, 59427)
    assert found["density"] == pytest.approx(0.0016, abs=5e-5)
    assert found["mean_length"] == pytest.approx(7.04, abs=5e-3)


def test_the_format_is_told_by_looking(shop: Path, tmp_path: Path, capsys: Capture) -> None:
    command = arguments(shop, tmp_path / "out", "--k-core", "0")
    at = command.index("--format")
    assert main(command[:at] + command[at + 2 :]) == 0
    assert "read as table (--format says otherwise)" in capsys.readouterr().err


def test_rows_that_are_skipped_are_told(shop: Path, tmp_path: Path, capsys: Capture) -> None:
    path = shop / "sales.csv"
    text = path.read_text()
    path.write_text(text.replace("u2,i3,49", "u2,i3").replace("u3,i4,49", "u3,i\x1b[31m99,49"))
    out = tmp_path / "out"
    assert main(arguments(shop, out, "--k-core", "0")) == 2
    assert main(arguments(shop, out, "--k-core", "0", "--on-error", "skip")) == 0
    err = capsys.readouterr().err
    assert "skipped 1 row: another number of fields than the header (first: sales.csv:15)" in err
    assert "skipped 1 row: an item that the item file doesn't have (first: sales.csv:21)" in err
    assert "\x1b" not in err
    assert Dataset.open(out).n_interactions == 34
    assert main(["data", "show", str(out), "--json"]) == 0
    assert [skip["rows"] for skip in orjson.loads(capsys.readouterr().out)["skipped"]] == [1, 1]


def test_a_shop_with_semicolons_and_dates_that_could_be_either(
    tmp_path: Path, capsys: Capture
) -> None:
    source, out = tmp_path / "shop.csv", tmp_path / "out"
    rows = [f"u{n % 3};i{n % 4};{n % 12 + 1}/{n % 11 + 1}/2024;T{n % 4}" for n in range(24)]
    source.write_text("\n".join(["user_id;item_id;day;title", *rows]) + "\n")
    command = [
        "preprocess",
        str(source),
        "--time-column",
        "day",
        "--out",
        str(out),
        "--k-core",
        "0",
    ]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "separated by semicolons" in err
    assert 'fix:   add --separator ";"' in err
    assert main([*command, "--separator", ";"]) == 0
    assert "whether the day or the month comes first" in capsys.readouterr().err
    assert Dataset.open(out).n_interactions == 24
    assert main([*command, "--separator", "semi"]) == 2
    assert "where: --separator" in capsys.readouterr().err


def test_a_column_of_ratings_that_nothing_reads(
    shop: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert main(arguments(shop, tmp_path / "out", "--rating-column", "day")) == 2
    assert "is of no use without --min-rating\nwhere: --rating-column" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_option_of_preparation(shop: Path, tmp_path: Path, capsys: Capture) -> None:
    more = ["--k-core", "2", "--user-core", "3", "--item-core", "1", "--since", "45", "--json"]
    more += ["--until", "50", "--repeats", "first", "--min-length", "2", "--max-length", "4"]
    more += ["--rating-column", "day", "--min-rating", "46"]
    assert main(arguments(shop, tmp_path / "out", *more)) == 0
    found = orjson.loads(capsys.readouterr().out)
    assert [(step["step"], step["interactions"]) for step in found["steps"]] == [
        ("as read", 36),
        ("items nobody took dropped", 36),
        ("rated 46 or more", 30),
        ("since 45", 30),
        ("until 50", 24),
        ("the first of repeats", 24),
        ("users with 2 or more", 24),
        ("the latest 4 of a user", 24),
        ("3-core, items 1", 24),
    ]
    kept = ("since", "until", "repeats", "min_length", "max_length", "min_rating", "item_core")
    assert [found["settings"][name] for name in kept] == [45, 50, "first", 2, 4, 46.0, 1]


def test_a_split_by_time(shop: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    more = ("--split", "temporal", "--k-core", "2", "--valid-from", "48", "--test-from", "50")
    assert main(arguments(shop, out, *more)) == 0
    # Items 2 and 3 were bought once before the cut. The 2-core of the training part drops them,
    # and so the test targets of u2 and u3 and both validation targets of u1.
    assert "temporal: 5 users are validated, 4 tested" in capsys.readouterr().out
    assert main(["data", "verify", str(out)]) == 0
    assert "nothing looks ahead" in capsys.readouterr().out
    assert main(arguments(shop, tmp_path / "no", "--valid-from", "48")) == 2
    assert "--split temporal" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
