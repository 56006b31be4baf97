"""Damaged, hostile and odd files: each is read, refused with a clear error, or skipped and counted.

The cases are the same in every run: small files in every layout, damaged in one to three ways
drawn by a seeded generator; and rows of arbitrary text drawn by hypothesis.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miracle_cli.main import main
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import ReadOptions, read
from miracle_core.data.verify import verify
from miracle_core.errors import InputError
from tests.data.support import (
    META_2023,
    MOVIES,
    RETAIL,
    lines,
    meta,
    retail_csv,
    reviews,
    workbook,
)

BATCHES, CASES = 23, 90
SLOWEST = 60.0  # seconds a case may take on a busy machine: anything near it is a hang

TABLE = (
    "user_id,item_id,when,title\n" + "u,a,1,Lamp\n" + 'u,b,2,"Mug, big"\n' + "v,a,3,\nv,b,4,\n"
).encode()
INTER = b"user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\nu\tb\t2\nv\ta\t3\n"
SPLIT = b"user_id:token\titem_id_list:token_seq\titem_id:token\n0\t0 1 2\t3\n1\t3 2\t1\n"
TEXT = b"item_id:token\ttext:token_seq\na\tLamp. Home. Lux.\nb\tMug. Home. Lux.\n"
REVIEW_2023 = lines(
    *(
        {
            "user_id": u,
            "parent_asin": f"B{n % 2 + 1}",
            "rating": 5.0,
            "timestamp": 1588687728923 + n,
        }
        for n, u in enumerate("uuvv")
    )
)
RATINGS = "".join(
    f"{row['reviewerID']},{row['asin']},{row['overall']},{row['unixReviewTime']}\n"
    for row in reviews()
).encode()
STEAM = {
    "reviews.json": b"{u'username': u'C', u'product_id': u'1', u'date': u'2018-01-02'}\n"
    b"{u'username': u'C', u'product_id': u'2', u'date': u'2018-01-03'}\n",
    "games.json": b"{u'app_name': u'Bat', u'id': u'1', u'genres': [u'A']}\n"
    b"{u'app_name': u'It\\'s', u'id': u'2'}\n",
}
Files = dict[str, bytes]
SEEDS: list[tuple[str, Files]] = [
    ("table", {"shop.csv": TABLE}),
    ("table", {"shop.tsv": TABLE.replace(b",", b"\t")}),
    ("atomic", {"T.inter": INTER, "T.text": TEXT}),
    ("atomic", {"T.test.inter": SPLIT, "T.text": TEXT.replace(b"\na", b"\n0\tz\n1\tz\n2\tz\n3")}),
    ("amazon2018", {"T.json": lines(*reviews()), "meta_T.json": meta()}),
    ("amazon2018", {"T.csv": RATINGS, "meta_T.json": meta()}),
    (
        "amazon2018",
        {
            "T.json": lines(*reviews()),
            "meta_T.json": b"".join(
                repr(json.loads(line)).encode() + b"\n" for line in meta().splitlines()
            ),
        },
    ),
    ("amazon2023", {"T.jsonl": REVIEW_2023, "meta_T.jsonl": META_2023}),
    ("steam", STEAM),
    *(("movielens", files) for files in MOVIES.values()),
    ("online-retail", {"retail.csv": retail_csv().encode("latin-1")}),
    ("online-retail", {"retail.xlsx": workbook(RETAIL)}),
]
MARKUP = [
    *(b"[bold red]x[/]", b"[/]", b"[link=file:///x]y[/link]"),
    *(b"\x1b[2J\x1b]0;evil\x07", b"\x9b31m", "\u202e\u2066".encode()),
]
ODD = [
    *(b"", b"\0", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8"),
    *(
        b'"',
        b"'",
        b"\\",
        b"\r",
        b"\n",
        b"\r\n",
        b"\t",
        b",",
        b"::",
        b"|",
        b"{",
        b"}",
        b"[[[[",
        b"]",
    ),
    *(b"null", b"NaN", b"True", b"-1", b"1e999", b"-0.0", b"1_000", b"0x10", b"9" * 40, b"$3.99"),
    *(b"1588687728923", b"2024-02-30", b"\x1f", b"\x1a", *MARKUP),
]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of small folders are written: that each reaches the disk is tested elsewhere."""
    monkeypatch.setattr("miracle_core.files._sync", lambda _: None)


def at_line(
    content: bytes, rng: random.Random, change: Callable[[list[bytes], int], None]
) -> bytes:
    rows = content.split(b"\n")
    change(rows, rng.randrange(len(rows)))
    return b"\n".join(rows)


def flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def insert(content: bytes, rng: random.Random) -> bytes:
    at = rng.randint(0, len(content))
    return content[:at] + rng.choice(ODD) + content[at:]


def replace_field(content: bytes, rng: random.Random) -> bytes:
    for separator in rng.sample([b",", b"\t", b"::", b"|", b'": ', b"': "], 6):
        if separator in content:
            parts = content.split(separator)
            parts[rng.randrange(len(parts))] = rng.choice(ODD)
            return separator.join(parts)
    return content


def repeat_line(content: bytes, rng: random.Random) -> bytes:
    return at_line(content, rng, lambda rows, at: rows.insert(rng.randint(0, len(rows)), rows[at]))


def drop_line(content: bytes, rng: random.Random) -> bytes:
    return at_line(content, rng, lambda rows, at: rows.__delitem__(at))


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randint(0, len(content))]


def shuffle(content: bytes, rng: random.Random) -> bytes:
    rows = content.split(b"\n")
    rng.shuffle(rows)
    return b"\n".join(rows)


def long_line(content: bytes, rng: random.Random) -> bytes:
    return insert_bytes(content, rng, rng.choice([b"x", b"[", b'"', b"' ", b",", b"9"]) * 30_000)


def insert_bytes(content: bytes, rng: random.Random, more: bytes) -> bytes:
    at = rng.randint(0, len(content))
    return content[:at] + more + content[at:]


def packed(content: bytes, rng: random.Random) -> bytes:
    whole = gzip.compress(content, mtime=0)
    return rng.choice([lambda c, _: c, cut, flip, insert])(whole, rng)


def zipped(content: bytes, rng: random.Random) -> bytes:
    sink = io.BytesIO()
    names = [
        "shop.csv",
        "../x.csv",
        "/x.csv",
        "a/b.csv",
        "a\\..\\b.csv",
        "C:x.csv",
        "x\x1b[31m.csv",
    ]
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in rng.sample(names, rng.randint(1, 2)):
            archive.writestr(name, content)
    return rng.choice([lambda c, _: c, cut, flip, flip])(sink.getvalue(), rng)


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    *(flip, flip, insert, insert, insert, replace_field, replace_field, replace_field),
    *(repeat_line, drop_line, cut, shuffle, long_line, packed, zipped),
    lambda content, _: b"\xef\xbb\xbf" + content,
    lambda content, _: content.replace(b"\n", b"\r\n"),
    lambda content, _: content.replace(b"\n", b"\n\n"),
    lambda content, _: content.decode("latin-1").encode("utf-16"),
    lambda content, _: content + content,
]


def attempt(form: str, folder: Path, options: ReadOptions) -> bool:
    """Whether the files are read; then they make a Dataset that verifies. Or one clear error."""
    out = folder.parent / "out"
    begun = time.monotonic()
    try:
        found = read(form, sorted(folder.iterdir()), options)
        prepare(found, PrepareSettings(k_core=0), out)
    except InputError as error:
        assert error.what
        assert not out.exists()
        assert options.on_error == "skip" or "skipped" not in error.what
        good = False
    else:
        verify(out)
        shutil.rmtree(out)
        assert options.on_error == "skip" or not found.skipped
        good = True
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert time.monotonic() - begun < SLOWEST
    return good


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_files(tmp_path: Path, batch: int, capsys: pytest.CaptureFixture[str]) -> None:
    read_well = 0
    for case in range(CASES):
        rng = random.Random(batch * CASES + case)
        form, seed = SEEDS[case % len(SEEDS)]
        files = dict(seed)
        for _ in range(rng.randint(1, 3)):
            name = rng.choice(sorted(files))
            files[name] = rng.choice(MUTATIONS)(files[name], rng)
        folder = tmp_path / "raw"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        asked = {"time": "when"} if form == "table" else {}
        options = ReadOptions(
            on_error=rng.choice(["stop", "skip"]),
            with_ratings=form not in ("table", "steam") and rng.random() < 0.3,
            **asked,
        )
        read_well += attempt(rng.choice([form, "auto"]), folder, options)
        if case % 15 == 0:  # and from the shell: no traceback, nothing that moves the cursor
            out = tmp_path / "out"
            command = ["preprocess", str(folder), "--out", str(out), "--k-core", "0"]
            code = main([*command, "--format", form, "--on-error", options.on_error])
            said = "".join(capsys.readouterr())
            assert code in (0, 2)
            assert "Traceback" not in said
            assert "a bug" not in said
            assert not {"\x1b", "\x9b", "\x07"} & set(said)
            shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(folder)
    assert 0 < read_well < CASES  # neither is everything refused nor does nothing matter


def test_there_are_as_many_cases_as_we_say() -> None:
    assert BATCHES * CASES >= 2000


@given(
    rows=st.lists(st.lists(st.text(max_size=12), min_size=2, max_size=5), max_size=6),
    separator=st.sampled_from([",", "\t", "::", "|"]),
    name=st.sampled_from(["shop.csv", "ratings.dat", "u.data", "T.inter", "shop.jsonl"]),
    skip=st.booleans(),
)
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_rows_of_anything(
    tmp_path: Path, rows: list[list[str]], separator: str, name: str, skip: bool
) -> None:
    folder = tmp_path / "raw"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    text = "\n".join(separator.join(row) for row in rows)
    heads = {"shop.csv": "user_id,item_id,title\n", "T.inter": "user_id:token\titem_id:token\n"}
    content = heads.get(name, "") + text
    (folder / name).write_bytes(content.encode("utf-8", "surrogatepass"))
    if name == "T.inter":
        (folder / "T.item").write_bytes(TEXT)
    attempt("auto", folder, ReadOptions(on_error="skip" if skip else "stop"))


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=12,
    ),
    field=st.sampled_from(["asin", "title", "category", "brand", "reviewerID", "unixReviewTime"]),
    literal=st.booleans(),
    skip=st.booleans(),
)
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_value_in_any_field(
    tmp_path: Path, value: object, field: str, literal: bool, skip: bool
) -> None:
    folder = tmp_path / "raw"
    folder.mkdir(exist_ok=True)
    items = [json.loads(line) for line in meta().splitlines()]
    events = reviews()
    (items if field in items[0] else events)[1][field] = value
    written = repr if literal else json.dumps
    for name, objects in (("r.json", events), ("meta_r.json", items)):
        text = "".join(f"{written(entry)}\n" for entry in objects)
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    attempt("amazon2018", folder, ReadOptions(on_error="skip" if skip else "stop"))


@pytest.mark.parametrize("form", ["table", "amazon2018", "literal", "quotes", "fields"])
def test_a_line_of_ten_megabytes(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    huge = b"x" * (10 << 20)
    if form == "table":
        (folder / "shop.csv").write_bytes(TABLE + b"u,a,5," + huge + b"\n")
    elif form == "quotes":
        (folder / "shop.csv").write_bytes(TABLE + b'u,a,5,"' + b'""' * (5 << 20) + b'"\n')
    elif form == "fields":
        (folder / "shop.csv").write_bytes(TABLE + b"u,a,5,x" + b"," * (1 << 20) + b"\n")
    else:
        item = {"asin": reviews()[0]["asin"], "title": "t", "also": huge.decode()}
        written = json.dumps(item) if form == "amazon2018" else repr(item)
        (folder / "meta_T.json").write_bytes(written.encode() + b"\n")
        (folder / "T.json").write_bytes(lines(*reviews()))
    options = ReadOptions(time="when") if (folder / "shop.csv").exists() else ReadOptions()
    assert attempt("auto", folder, options) is (form != "fields")
