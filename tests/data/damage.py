"""Small files in every layout, ways to damage them, and the allowed outcomes."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from miracle_core.data.interactions import Interactions
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import ReadOptions, read
from miracle_core.data.verify import verify
from miracle_core.errors import InputError
from tests.data.strict import LAYOUTS, lines_alone
from tests.data.support import META_2023, MOVIES, RETAIL, lines, meta, retail_csv, reviews, workbook

SLOWEST = 60.0  # seconds per case on a busy machine; a case near the limit hangs

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
FUZZ_CASES = int(os.environ.get("MIRACLE_FUZZ_CASES", "2000"))  # half of them in each of two files
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
TIME = rb"\b(\d{9,13}|\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d{2}|2018-01-0\d)\b|(?<=[,\t])\d(?=[,\t\n])"
TIMES = [
    *(b"1588687728", b"1588687728923", b"20240131", b"20240131120000", b"2024-01-31T12:00:00Z"),
    *(b"2024-01-31T12:00:00+01:00", b"31/01/2024 9:00", b"1/31/2024 9:00", b"31.01.2024", b"soon"),
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


def even_quotes(content: bytes, rng: random.Random) -> bytes:
    """Insert two or four quotes, each at the start or end of a field, or anywhere."""
    places = [at for at, byte in enumerate(content) if byte in b",\t|\n"]
    for _ in range(rng.choice([2, 2, 4])):
        at = rng.choice([*places, rng.randint(0, len(content))]) + rng.randrange(2)
        content = content[:at] + b'"' + content[at:]
    return content


def mixed_times(content: bytes, rng: random.Random) -> bytes:
    """Write one of the times in another format."""
    found = list(re.finditer(TIME, content))
    if not found:
        return content
    at = rng.choice(found)
    return content[: at.start()] + rng.choice(TIMES) + content[at.end() :]


def float_ids(content: bytes, rng: random.Random) -> bytes:
    """Add a decimal point to some whole numbers."""
    return re.sub(rb"\b\d{1,6}\b", lambda at: at[0] + b".0" * (rng.random() < 0.5), content)


def another_separator(content: bytes, rng: random.Random) -> bytes:
    for old in (b"\t", b"::", b","):
        if old in content:
            return content.replace(old, rng.choice([b";", b"|", b"\t", b" ", b","]))
    return content


def entities(content: bytes, rng: random.Random) -> bytes:
    pieces = [
        b"&amp;",
        b"&notit;",
        b"&amp;amp;",
        b"&lt;b&gt;",
        b"&#9;",
        b"&#0;",
        b"<script>",
        b"&quot;",
    ]
    return insert_bytes(content, rng, b"".join(rng.choices(pieces, k=3)))


MUTATIONS: list[Callable[[bytes, random.Random], bytes]] = [
    *(flip, flip, insert, insert, insert, replace_field, replace_field, replace_field),
    *(repeat_line, drop_line, cut, shuffle, long_line, packed, zipped),
    *(even_quotes, even_quotes, mixed_times, mixed_times, float_ids, another_separator, entities),
    lambda content, _: b"\xef\xbb\xbf" + content,
    lambda content, _: content.replace(b"\n", b"\r\n"),
    lambda content, _: content.replace(b"\n", b"\n\n"),
    *(
        lambda content, _, name=name: content.decode("latin-1").encode(name)
        for name in ("utf-16", "utf-16-le", "utf-8")
    ),
    lambda content, _: content + content,
]


def nothing_lost(found: Interactions, folder: Path) -> None:
    """Every line that is a row by itself was read, or is counted as left out."""
    seen = found.steps[0]["interactions"] if found.steps else found.events.height
    seen += sum(skip["rows"] for skip in found.skipped)
    used = {source.file for source in found.sources}
    alone = [
        row
        for path in folder.iterdir()
        if path.name in LAYOUTS and path.name in used
        for row in lines_alone(path.name, path.read_bytes())
    ]
    assert seen >= len(alone), f"{len(alone)} rows, of which {seen} were read or counted"


def attempt(form: str, folder: Path, options: ReadOptions) -> bool:
    """Try to read the files: they make a valid Dataset (True), or give one clear error (False)."""
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
        nothing_lost(found, folder)
        good = True
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert time.monotonic() - begun < SLOWEST
    return good
