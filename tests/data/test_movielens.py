"""The three layouts of MovieLens."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from miracle_core.data.readers import ReadOptions, read
from tests.data.support import (
    MOVIES,
    RATED,
    refused,
)


class TestMovieLens:
    @pytest.mark.parametrize("layout", list(MOVIES))
    @pytest.mark.parametrize("packed", [False, True])
    def test_layouts(self, tmp_path: Path, layout: str, packed: bool) -> None:
        source = tmp_path / f"ml-{layout}"
        if packed:
            source = source.with_suffix(".zip")
            with zipfile.ZipFile(source, "w") as archive:
                for name, content in MOVIES[layout].items():
                    archive.writestr(f"ml-{layout}/{name}", content)
        else:
            source.mkdir()
            for name, content in MOVIES[layout].items():
                (source / name).write_bytes(content)
        for form in ("movielens", "auto"):
            found = read(form, [source], RATED)
            assert found.events.select("user_id", "item_id", "rating", "time").rows() == [
                ("1", "10", 3.0, 881250949),
                ("2", "11", 5.0, 891717742),
            ]
            assert found.items.rows() == [
                (
                    "10",
                    "Café Story (1995)",
                    "Café Story (1995). Action Comedy",
                    f"ml-{layout}",
                ),
                ("11", "Heat: Two (1995)", "Heat: Two (1995)", f"ml-{layout}"),
            ]

    @pytest.mark.parametrize("layout", list(MOVIES))
    def test_bad_rows_are_named_or_counted(self, tmp_path: Path, layout: str) -> None:
        for name, content in MOVIES[layout].items():
            (tmp_path / name).write_bytes(content)
        ratings = tmp_path / next(iter(MOVIES[layout]))
        separator = {"100k": b"\t", "1m": b"::", "25m": b","}[layout]
        bad = [[b"1", b"10", b"4"], [b"1", b"99", b"3", b"5"], [b"1", b"10", b"x", b"7"]]
        whole = ratings.read_bytes()
        line = whole.count(b"\n") + 1
        for fields in bad:
            ratings.write_bytes(whole + separator.join(fields) + b"\n")
            assert refused("movielens", [tmp_path], RATED).where == f"{ratings}:{line}"
        ratings.write_bytes(whole + b"".join(separator.join(row) + b"\n" for row in bad))
        found = read("movielens", [tmp_path], ReadOptions(with_ratings=True, on_error="skip"))
        assert found.events.height == 2
        # Row numbers are those of the file, although a broken row before them was dropped.
        assert [(skip["rows"], skip["first"]) for skip in found.skipped] == [
            (1, f"{ratings.name}:{line}"),
            (1, f"{ratings.name}:{line + 2}"),
            (1, f"{ratings.name}:{line + 1}"),
        ]

    def test_two_layouts_or_half_of_one(self, tmp_path: Path) -> None:
        for name, content in (MOVIES["100k"] | MOVIES["1m"]).items():
            (tmp_path / name).write_bytes(content)
        assert "u.data and ratings.dat" in refused("movielens", [tmp_path]).what
        (tmp_path / "u.data").unlink()
        (tmp_path / "movies.dat").unlink()
        assert "movies.dat" in refused("movielens", [tmp_path]).what
