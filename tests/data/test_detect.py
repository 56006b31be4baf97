"""Which format files are in, told by what is in them."""

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

    @pytest.mark.parametrize(
        "content", [b"", b"\0\0\0", b"a,b\n1,2\n", b"{}\n", b'{"a": 1}\n', b"\xff\xfe", b"<html>"]
    )
    def test_what_nobody_knows(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.csv").write_bytes(content)
        assert "--format" in (refused("auto", [tmp_path / "x.csv"]).remedy or "")

    def test_several_formats(self, tmp_path: Path) -> None:
        paths = write(tmp_path, a__json=lines(*reviews()), retail__csv=retail_csv().encode())
        assert "amazon2018, online-retail" in refused("auto", paths).what
