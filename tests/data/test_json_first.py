"""Files that are almost JSON lines: the message names the format and the command to fix it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from miracle_core.data.readers import ReadOptions, read
from tests.data.support import lines, meta, refused, reviews, write

SKIP = ReadOptions(on_error="skip")


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("form", ["amazon2018", "auto"])
@pytest.mark.parametrize("named", [True, False])
def test_an_array(tmp_path: Path, indent: int | None, form: str, named: bool) -> None:
    array = json.dumps(reviews(), indent=indent).encode()
    paths = write(tmp_path, r__json=array, meta_r__json=meta())
    for options in (ReadOptions(), SKIP):
        error = refused(form, paths if named else [tmp_path], options)
        assert "JSON array" in error.what
        assert error.where == f"{paths[0]}:1"
        assert "jq -c '.[]'" in (error.remedy or "")


def test_objects_over_several_lines(tmp_path: Path) -> None:
    pretty = "".join(json.dumps(row, indent=1) + "\n" for row in reviews()).encode()
    paths = write(tmp_path, r__json=pretty, meta_r__json=meta())
    error = refused("amazon2018", paths)
    assert "span lines" in error.what
    assert "jq -c . " in (error.remedy or "")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("broken", [b"", b"{\n"])
def test_nan_is_a_value_that_is_missing(tmp_path: Path, number: str, broken: bytes) -> None:
    """Python's json module writes NaN. Test it in a block read line by line, and in any other."""
    events = lines(*reviews()).replace(b'"vote": "2"', f'"vote": {number}'.encode())
    events = events.replace(b'"overall": 5.0', f'"overall": {number}'.encode())
    items = meta().replace(b'"brand": "3M"', f'"brand": {number}'.encode())
    assert items.count(number.encode()) == 1
    paths = write(tmp_path, r__json=events + broken, meta_r__json=items + broken)
    found = read("auto", paths, SKIP)
    assert found.events.height == 2
    assert found.items["text"][0] == "Blue Tape. Industrial & Scientific Tapes"
    rated = read("auto", paths, ReadOptions(on_error="skip", with_ratings=True))
    assert rated.events["rating"].to_list() == [4.0]
    assert [skip["reason"] for skip in rated.skipped][-1] == "no rating"


@pytest.mark.parametrize("form", ["amazon2018", "auto"])
def test_a_broken_first_line_hides_nothing(tmp_path: Path, form: str) -> None:
    for broken in (b'{"reviewerID": "A1", "as\n', b"some words\n", b'{"note": 1}\n'):
        paths = write(tmp_path, r__json=broken + lines(*reviews()), meta_r__json=meta())
        error = refused(form, paths)
        assert error.where == f"{paths[0]}:1"
        found = read(form, paths, SKIP)
        assert found.events.height == 2
        assert found.skipped[0]["first"] == "r.json:1"


def test_a_first_item_without_a_title(tmp_path: Path) -> None:
    items = lines({"asin": "Z", "brand": "x"}) + meta()
    found = read("auto", write(tmp_path, r__json=lines(*reviews()), meta_r__json=items))
    assert found.events.height == 2


def test_other_json_is_still_no_release(tmp_path: Path) -> None:
    (path,) = write(tmp_path, x__json=lines({"a": 1}, {"b": 2}))
    assert "neither a file of interactions" in refused("amazon2018", [path]).what
