"""Randomly damaged tables with known rows: nothing is lost or changed without a message.

Each case is a small shop in one of many formats, which differ in separators, times and kinds of
ids. It is damaged in up to three ways: an even number of stray quotes, times in another format, ids
that became floats, another separator or encoding, or missing fields. The rows that are read are
compared with the rows that were written, and with each line as Python's csv module reads it.

``MIRACLE_FUZZ_CASES=10000 pytest tests/data/test_fuzz.py tests/data/test_fuzz_tables.py`` runs
10,000 cases in all.
"""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from miracle_core.data.interactions import Interactions
from miracle_core.data.readers import ReadOptions, read
from miracle_core.errors import InputError
from tests.data.damage import FUZZ_CASES
from tests.data.strict import fields_of

BATCHES = 10
CASES = FUZZ_CASES // 2  # the other half is in test_fuzz.py
HEADER = ["user_id", "item_id", "when", "title"]
TITLES = [
    "Lamp",
    "Mug, big",
    'Disk 5" wide',
    "Pen&amp;notebook",
    "Café",
    "a;b",
    "<b>Jar</b>",
    "x|y",
]
SHOWN = "1.23457E+11"  # how spreadsheets show a long number
Writer = Callable[[datetime], str]
# How a time is written, and the unit that it is read in: microseconds, or a plain count.
WAYS: dict[str, tuple[Writer, float]] = {
    "iso": (lambda t: t.strftime("%Y-%m-%d %H:%M:%S"), 1e6),
    "iso with zones": (
        lambda t: (t + timedelta(hours=t.day % 3)).isoformat() + f"+0{t.day % 3}:00",
        1e6,
    ),
    "iso to the minute": (lambda t: t.strftime("%Y-%m-%dT%H:%MZ"), 1e6),
    "seconds": (lambda t: f"{stamp(t):.0f}", 1),
    "milliseconds": (lambda t: f"{stamp(t) * 1000:.0f}", 1e3),
    "digits": (lambda t: t.strftime("%Y%m%d%H%M%S"), 1e6),
    "day first": (lambda t: f"{t.day}/{t.month}/{t.year} {t.hour}:{t.minute:02d}", 1e6),
    "month first": (lambda t: f"{t.month}/{t.day}/{t.year} {t.hour}:{t.minute:02d}", 1e6),
    "dots": (lambda t: t.strftime("%d.%m.%Y %H:%M"), 1e6),
}


def stamp(time: datetime) -> float:
    return time.replace(tzinfo=UTC).timestamp()


@dataclass
class Shop:
    """A shop as written to a file, and its true content."""

    name: str
    separator: str
    rows: list[list[str]]
    times: list[float | None]  # each time in the column's unit; None if it has no meaning
    unit: float
    lines: list[str]
    options: dict[str, Any]
    touched: set[int] = field(default_factory=set)  # rows that may be lost with a message
    refused: bool = False  # the whole file may be refused
    clash: bool = False  # all times may be refused
    encode: Callable[[str], bytes] = str.encode


def draw(rng: random.Random) -> Shop:
    name, separator = rng.choice(
        [("s.csv", ","), ("s.csv", ","), ("s.tsv", "\t"), ("s.csv", ";"), ("s.txt", "|")]
    )
    write, unit = WAYS[rng.choice(list(WAYS))]
    kind = rng.choice(["{}", "id{}"])
    rows, times = [], []
    for _ in range(rng.randint(14, 30)):
        # Days from the 13th on are unambiguous in every date format.
        time = datetime(2024, rng.randint(1, 9), rng.randint(13, 28), rng.randrange(24))
        time += timedelta(minutes=rng.randrange(60))
        item = rng.randrange(8)
        title = TITLES[item]
        rows.append([kind.format(100 + rng.randrange(5)), kind.format(item), write(time), title])
        times.append(stamp(time) * unit)
    options = {} if separator in ",\t" else {"separator": separator}
    shop = Shop(name, separator, rows, times, unit, [], options)
    shop.lines = [line_of(row, separator) for row in rows]
    return shop


def line_of(row: list[str], separator: str) -> str:
    if separator not in ",;":
        return separator.join(part.replace(separator, "/") for part in row)
    sink = io.StringIO()
    csv.writer(sink, delimiter=separator, lineterminator="\n").writerow(row)
    return sink.getvalue().removesuffix("\n")


def stray_quotes(shop: Shop, rng: random.Random) -> None:
    """Insert an even number, at most one per row, at the ends of fields or anywhere."""
    for at in rng.sample(range(len(shop.lines)), rng.choice([2, 2, 4])):
        line = shop.lines[at]
        ends = [0, len(line)]
        for place, sign in enumerate(line):
            ends += [place, place + 1] if sign == shop.separator else []
        place = rng.choice([*ends, *ends, rng.randint(0, len(line))])
        shop.lines[at] = line[:place] + '"' + line[place:]
        shop.touched.add(at)


def other_times(shop: Shop, rng: random.Random) -> None:
    """Write some times in another format, or remove them."""
    write = WAYS[rng.choice(list(WAYS))][0]
    for at in rng.sample(range(len(shop.lines)), rng.randint(1, 3)):
        time = datetime(2024, 3, rng.randint(13, 28), 5)
        none = ["soon", "", "2024-02-30", "31/31/24", "2024-03-14T05:00:00+25:00"]
        if shop.unit < 1e6:  # seconds or milliseconds; an all-digit date is neither
            none += ["20240314", "202403140500", "20240314050000"]
        was, now = shop.rows[at][2], rng.choice([write(time), *none])
        if was in shop.lines[at]:
            shop.lines[at] = shop.lines[at].replace(was, now, 1)
            shop.times[at] = stamp(time) * shop.unit if now == write(time) else None
            shop.touched.add(at)
            shop.clash = True


def float_ids(shop: Shop, rng: random.Random) -> None:
    """Write whole numbers as floats, in all rows or in some; the ids stay the same."""
    share = rng.choice([1.0, 0.3])
    for at, row in enumerate(shop.rows):
        if row[0].isdigit() and rng.random() < share and at not in shop.touched:
            shop.lines[at] = line_of([f"{row[0]}.0", f"{row[1]}.0", *row[2:]], shop.separator)


def spaces(shop: Shop, rng: random.Random) -> None:
    """Put a space before titles, in all rows or in some, as people type after a comma."""
    share = rng.choice([1.0, 0.5])
    for at, row in enumerate(shop.rows):
        if rng.random() < share and at not in shop.touched:
            row[3] = f" {row[3]}"
            shop.lines[at] = line_of(row, shop.separator)


def several_lines(shop: Shop, rng: random.Random) -> None:
    """Make titles span lines, some with as many separators as a row has."""
    if shop.separator not in ",;":
        return
    for at in rng.sample(range(len(shop.lines)), rng.randint(1, 3)):
        if at in shop.touched:
            continue
        prose = f"{shop.separator} ".join(["warm", "cosy", "nice", "really"][: rng.randint(1, 4)])
        end = rng.choice(["", "\nand soft", "\n\nand soft"])
        row = [*shop.rows[at][:3], f"Lamp\n{prose}{end}"]
        shop.rows[at], shop.lines[at] = row, line_of(row, shop.separator)
        if prose.count(shop.separator) == len(HEADER) - 1:
            shop.touched.add(at)  # only this row may be left out


def lost_digits(shop: Shop, rng: random.Random) -> None:
    """Show a user's number as a spreadsheet shows long ones; among text ids, that is a new id."""
    at = rng.randrange(len(shop.lines))
    if at not in shop.touched:
        shop.lines[at] = line_of([SHOWN, *shop.rows[at][1:]], shop.separator)
        shop.touched.add(at)


def missing_fields(shop: Shop, rng: random.Random) -> None:
    for at in rng.sample(range(len(shop.lines)), rng.randint(1, 2)):
        shop.lines[at] = rng.choice([shop.lines[at].rpartition(shop.separator)[0], "x", "{}"])
        shop.touched.add(at)


def missing_ids(shop: Shop, rng: random.Random) -> None:
    at = rng.randrange(len(shop.lines))
    shop.lines[at] = line_of(["", *shop.rows[at][1:]], shop.separator)
    shop.touched.add(at)


def nobody_said(shop: Shop, rng: random.Random) -> None:
    """Use another separator than the file name suggests."""
    shop.options.pop("separator", None)
    shop.refused |= shop.separator != {"s.csv": ",", "s.tsv": "\t", "s.txt": "\t"}[shop.name]


def encoding(shop: Shop, rng: random.Random) -> None:
    name = rng.choice(["utf-16", "utf-16-le", "utf-8-sig", "latin-1"])
    shop.encode = lambda text: text.encode(name)
    shop.refused |= name.startswith("utf-16")
    if name == "latin-1":
        shop.touched |= {at for at, line in enumerate(shop.lines) if "é" in line}


def blank_lines(shop: Shop, rng: random.Random) -> None:
    old = shop.encode
    shop.encode = lambda text: old(text.replace("\n", "\n\n"))


def line_ends(shop: Shop, rng: random.Random) -> None:
    old = shop.encode
    shop.encode = lambda text: old(text.replace("\n", "\r\n"))


DAMAGE: list[Callable[[Shop, random.Random], None]] = [
    *(stray_quotes, stray_quotes, stray_quotes, other_times, other_times, float_ids),
    *(spaces, several_lines, lost_digits),
    *(missing_fields, missing_ids, nobody_said, encoding, blank_lines, line_ends),
]


def check(shop: Shop, found: Interactions | None, skip: bool, said: str) -> None:
    left_out = sum(entry["rows"] for entry in found.skipped) if found else 0
    if shop.refused:
        assert found is None, "a file that is no table as it was read"
        return
    if found is None:
        assert shop.touched, f"a sound file was refused: {said}"
        all_bad = skip and "rows were skipped" in said
        told = all_bad or (shop.clash and "what the other dates mean" in said)
        told |= "whether these two are one" in said  # for ids that became floats
        told |= "exponent form" in said
        assert not skip or told, f"refused, though rows may be skipped: {said}"
        return
    kept = found.events.rows()
    # A row that spans lines may count once, or once per line.
    written = sum(bool(part.strip("\r")) for line in shop.lines for part in line.split("\n"))
    assert len(shop.lines) <= len(kept) + left_out <= written, "rows were lost without a word"
    numbers = all(row[0].isdigit() for row in shop.rows)
    assert not (numbers and any(event[0] == SHOWN for event in kept)), "an id lost its digits"
    assert skip or not left_out
    ordinary = shop.separator not in ",;"
    alone = [fields_of(line, shop.separator, not ordinary) for line in shop.lines]
    at = 0
    for event in kept:
        # Rows keep the order of the file. So this event belongs to the next undamaged line, or
        # to a damaged line before it.
        end = next((row for row in range(at, len(alone)) if row not in shop.touched), len(alone))
        if end < len(alone) and (*shop.rows[end][:2], shop.times[end]) == event:
            at = end + 1
            continue
        lines = [row for row in range(at, end) if same(shop, row, alone[row], event)]
        assert lines, f"{event} is on no line from {at + 2} to {end + 2}"
        at = lines[0] + 1
    lost = [row for row in range(at, len(alone)) if row not in shop.touched]
    assert not lost, f"line {lost[0] + 2} is lost"
    plain: dict[str, set[str]] = {}
    for row in shop.rows:
        plain.setdefault(row[1], set()).add(" ".join(row[3].split()))
    if not shop.touched and not ordinary:
        for item, title in found.items.select("item_id", "title").iter_rows():
            if not any(set(name) & set('&<"|') for name in plain.get(item, ())):
                assert title in plain.get(item, {title})


def same(shop: Shop, at: int, fields: list[str] | None, event: tuple[str, str, float]) -> bool:
    """Whether an event matches a damaged line: the ids by their text, the time by its meaning."""
    if fields is None or len(fields) != len(HEADER) or shop.times[at] != event[2]:
        return False
    ids = [re.sub(r"^(\d+)\.0$", r"\1", text) for text in fields[:2]]
    # In tab-separated files, a quote may be an ordinary character.
    loose = [text.strip('"') for text in ids] if shop.separator not in ",;" else ids
    return list(event[:2]) in (ids, loose)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_tables(tmp_path: Path, batch: int) -> None:
    accepted = 0
    for case in range(batch, CASES, BATCHES):
        rng = random.Random(case)
        shop = draw(rng)
        for damage in rng.sample(DAMAGE, rng.randint(0, 3)):
            damage(shop, rng)
        text = "".join(f"{line}\n" for line in [shop.separator.join(HEADER), *shop.lines])
        path = tmp_path / shop.name
        path.write_bytes(shop.encode(text))
        for on_error in ("stop", "skip"):
            found, said = None, ""
            try:
                options = ReadOptions(time="when", on_error=on_error, **shop.options)
                found = read(rng.choice(["table", "auto"]), [path], options)
            except InputError as error:
                said = str(error)
            try:
                check(shop, found, on_error == "skip", said)
            except AssertionError as error:
                raise AssertionError(f"case {case}, {on_error}: {error}\n{text}") from error
            accepted += found is not None
    assert accepted > CASES / BATCHES / 2
