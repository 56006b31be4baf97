"""Compressed and archived sources: what is unpacked, and every archive that is refused."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from miracle_core.data.readers import ReadOptions, read
from miracle_core.data.readers.opening import expand
from miracle_core.errors import InputError

CSV = b"user_id,item_id,when,title\nu,a,1,Lamp\nu,b,2,Mug\nv,a,3,\n"
TIMED = ReadOptions(time="when")


def packed(kind: str, content: bytes, name: str = "shop.csv") -> bytes:
    if kind == "gzip":
        return gzip.compress(content, mtime=0)
    if kind == "zstd":
        zstd = pa.BufferOutputStream()
        with pa.CompressedOutputStream(zstd, "zstd") as out:
            out.write(content)
        return zstd.getvalue().to_pybytes()
    if kind == "zip":
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, content)
        return sink.getvalue()
    return content


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("kind", "name"),
    [("", "s.csv"), ("gzip", "s.csv.gz"), ("gzip", "s.csv"), ("zstd", "s.csv.zst"), ("zip", "s.z")],
)
def test_packed_or_not_is_all_the_same(tmp_path: Path, kind: str, name: str) -> None:
    found = read("table", [write(tmp_path / name, packed(kind, CSV))], TIMED)
    assert found.events.rows() == [("u", "a", 1), ("u", "b", 2), ("v", "a", 3)]
    assert found.name == ("shop" if kind == "zip" else "s")
    assert found.sources[0].file == name
    assert found.sources[0].bytes == (tmp_path / name).stat().st_size


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zip"])
def test_places_are_those_of_the_unpacked_file(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "s.csv", packed(kind, CSV.replace(b"v,a,3", b"v,a,soon")))
    with pytest.raises(InputError, match="'soon' is not a time") as caught:
        read("table", [path], TIMED)
    where = f"{path}!shop.csv:4" if kind == "zip" else f"{path}:4"
    assert caught.value.where == where


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zip"])
def test_cut_off_and_flipped(tmp_path: Path, kind: str) -> None:
    rows = b"".join(b"u%d,i%d,%d,T\n" % (n * 7919 % 997, n * 31 % 89, n) for n in range(5000))
    whole = packed(kind, b"user_id,item_id,when,title\n" + rows)
    for content in (whole[: len(whole) // 2], whole[:40], whole[:5]):
        with pytest.raises(InputError) as caught:
            read("table", [write(tmp_path / "s.csv", content)], TIMED)
        assert str(tmp_path / "s.csv") in str(caught.value.where)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 16
    if kind != "zstd":  # zstd may not notice, since its checksum is optional
        with pytest.raises(InputError, match="unpacked"):
            read("table", [write(tmp_path / "s.csv", bytes(flipped))], TIMED)


@pytest.mark.parametrize("kind", ["gzip", "zstd", "zip"])
def test_bombs_are_not_unpacked(tmp_path: Path, kind: str) -> None:
    bomb = packed(kind, CSV + b"u,a,1,\n" * (40 << 17))
    assert len(bomb) < 1 << 18
    with pytest.raises(InputError, match="unpacks to more than"):
        read("table", [write(tmp_path / "s.csv", bomb)], TIMED)


@pytest.mark.parametrize("name", ["../shop.csv", "/etc/shop.csv", "a/../../b.csv", "..\\s.csv"])
def test_names_outside_the_archive(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="outside the archive"):
        read("table", [write(tmp_path / "s.zip", packed("zip", CSV, name))], TIMED)
    assert [path.name for path in tmp_path.iterdir()] == ["s.zip"]


def test_what_an_archive_holds(tmp_path: Path) -> None:
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("b/two.csv", "b/", "a/one.csv", "__MACOSX/x", "a/.hidden"):
            archive.writestr(name, CSV if name.endswith("csv") else b"")
    assert [raw.member for raw in expand([path])] == ["a/one.csv", "b/two.csv"]
    assert read("table", [path], TIMED).events.height == 6
    with zipfile.ZipFile(tmp_path / "none.zip", "w") as archive:
        archive.writestr("b/", b"")
    with pytest.raises(InputError, match="empty archive"):
        expand([tmp_path / "none.zip"])


def test_one_source_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", CSV)
    with pytest.raises(InputError, match="named twice"):
        expand([path, tmp_path / "." / "s.csv"])
