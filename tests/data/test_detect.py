"""Detect the format of files from their content."""

from __future__ import annotations

from pathlib import Path

import pytest

from miracle_core.data.readers import read
from tests.data.support import (
    lines,
    refused,
    retail_csv,
    reviews,
    write,
)


class TestDetection:
    def test_atomic_and_tables(self, tmp_path: Path) -> None:
        table = tmp_path / "shop.csv"
        table.write_bytes(b"user_id,item_id,title\nu,a,Lamp\n")
        assert "table" in read("auto", [table]).notes[0]
        inter = b"user_id:token\titem_id:token\nu\ta\n"
        item = b"item_id:token\ttitle:token_seq\na\tLamp\n"
        folder = tmp_path / "atomic"
        folder.mkdir()
        write(folder, Toy__inter=inter, Toy__item=item)
        assert "atomic" in read("auto", [folder]).notes[0]

    @pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"{}\n", b'{"a": 1}\n', b"user_id,title\n"])
    def test_what_nobody_knows(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.csv").write_bytes(content)
        assert "--format" in (refused("auto", [tmp_path / "x.csv"]).remedy or "")

    @pytest.mark.parametrize("form", ["auto", "table"])
    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"", "is empty"),
            (b"\n\n", "is empty"),
            (b"\0\0\0", "NUL byte"),
            (b"user_id,item_id,title\nu,a\0,Lamp\n", "NUL byte"),
            (b"user_id,item_id,title\ru,a,Lamp\r", "carriage return alone"),
            (b"\n<!DOCTYPE html>\n<html>", "is a web page"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
            (b"PAR1 and more", "is a Parquet file"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1", "old Excel"),
            (b"BZh91AY", "packed with bzip2"),
            (b"\xef\xbb\xbf\xef\xbb\xbfuser_id,item_id,title\n", "no column 'user_id'"),
            (b"User_ID,item_id,title\nu,a,Lamp\n", "no column 'user_id' (it has: User_ID, "),
            (b"user_id:item_id:title\nu:a:Lamp\n", "no column 'user_id'"),
        ],
    )
    def test_what_is_wrong_is_said(
        self, tmp_path: Path, content: bytes, what: str, form: str
    ) -> None:
        """The message names the problem, instead of an unknown format."""
        (tmp_path / "x.csv").write_bytes(content)
        assert what in refused(form, [tmp_path / "x.csv"]).what

    def test_a_folder_without_files(self, tmp_path: Path) -> None:
        assert refused("auto", [tmp_path]).what == "holds no files"

    def test_an_unpacked_file_that_kept_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv.gz").write_bytes(b"user_id,item_id,title\nu,a,Lamp\n")
        assert read("auto", [tmp_path / "x.csv.gz"]).events.height == 1

    def test_several_formats(self, tmp_path: Path) -> None:
        paths = write(tmp_path, a__json=lines(*reviews()), retail__csv=retail_csv().encode())
        assert "amazon2018, online-retail" in refused("auto", paths).what
