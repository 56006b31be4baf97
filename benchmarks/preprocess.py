"""Raw files to a Dataset: ours against a row-by-row pipeline of dicts and lists, and its memory.

    python benchmarks/preprocess.py [--json] [--rows 20000000] [--items 1000000] [--sample 0.1]

Amazon-like input is generated: ratings without a header (user, item, rating, time) and a line of
JSON for each item, with the fields and about the length of the 2018 release's. Both sides read it,
make the 5-core, clean the texts, put every user's items in order and write them. Ours is the
command line in a fresh process (two threads); the other one, as scripts of the field work, loops
over a shop of a share of the size, and its time is scaled to the whole.

Where other programs share the machine, look at the processor's seconds: those of ours are of all
its threads together, so they are no less than its seconds on an idle machine.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import orjson
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness

ROWS, ITEMS, SAMPLE, CORE = 20_000_000, 1_000_000, 0.1, 5
CHUNK = 1_000_000
ROWS_PER_USER = 8
WORDS = [
    "steel",
    "blue",
    "kitchen",
    "garden",
    "cotton",
    "classic",
    "travel",
    "wooden",
    "large",
    "small",
]


def write_ratings(path: Path, rows: int, items: int, seed: int = 0) -> None:
    """Ratings in the order of nothing; users and items are long-tailed."""
    generator = np.random.default_rng(seed)
    users = rows // ROWS_PER_USER
    with path.open("wb") as file:
        for start in range(0, rows, CHUNK):
            n = min(CHUNK, rows - start)
            user = (users * generator.random(n) ** 1.6).astype(np.int64)
            item = (items * generator.random(n) ** 2.5).astype(np.int64)
            frame = pl.DataFrame(
                {
                    "user": user * 7919 % users,
                    "item": item * 104729 % items,
                    "rating": generator.integers(1, 6, n).astype(np.float64),
                    "time": generator.integers(946_684_800, 1_538_352_000, n),
                }
            ).with_columns(
                pl.format("A{}", pl.col("user").cast(pl.String).str.zfill(13)).alias("user"),
                pl.format("B{}", pl.col("item").cast(pl.String).str.zfill(9)).alias("item"),
            )
            frame.write_csv(file, include_header=False)


def write_items(path: Path, items: int, seed: int = 1) -> None:
    """A line of JSON for each item, some 900 bytes long."""
    generator = np.random.default_rng(seed)
    filler = " ".join(WORDS * 6)
    with path.open("wb") as file:
        for start in range(0, items, CHUNK // 10):
            n = min(CHUNK // 10, items - start)
            words = np.array(WORDS)[generator.integers(0, len(WORDS), (n, 8))]
            lines = [
                orjson.dumps(
                    {
                        "category": ["Home &amp; Kitchen", row[0].title(), row[1].title()],
                        "tech1": "",
                        "description": [filler],
                        "title": f"{' '.join(row[2:7])} &amp; more, <b>No. {start + at}</b>",
                        "also_buy": [f"B{start + at + k:09d}" for k in range(12)],
                        "brand": row[7].title(),
                        "rank": [f">#{start + at:,} in Home & Kitchen (See Top 100)"],
                        "price": "$12.99",
                        "details": {"Shipping Weight:": "1 pounds"},
                        "asin": f"B{start + at:09d}",
                    }
                )
                for at, row in enumerate(words.tolist())
            ]
            file.write(b"\n".join(lines) + b"\n")


def ours(folder: Path) -> dict[str, Any]:
    """Seconds, peak memory and what is left, of the command line in a fresh process."""
    command = [sys.executable, "-m", "miracle_cli", "preprocess"]
    command += [str(folder / "ratings.csv"), str(folder / "meta_items.json"), "--json"]
    command += ["--format", "amazon2018", "--k-core", str(CORE), "--out", str(folder / "dataset")]
    threads = {"POLARS_MAX_THREADS": "2", "OMP_NUM_THREADS": "2"}
    begun = perf_counter()
    done = subprocess.run(
        command, check=True, capture_output=True, cwd=harness.ROOT, env={**os.environ, **threads}
    )
    seconds = perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, peak = used.ru_utime + used.ru_stime, used.ru_maxrss * 1024
    found = orjson.loads(done.stdout)
    left = {name: found[name] for name in ("users", "items", "interactions")}
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak, **left}


def row_by_row(folder: Path, rows: int, items: int) -> dict[str, Any]:
    """The same work in plain Python, on so many rows and items."""
    begun, cpu_begun = perf_counter(), process_time()
    texts: dict[str, str] = {}
    with (folder / "meta_items.json").open(encoding="utf-8") as file:
        for at, line in enumerate(file):
            if at == items:
                break
            entry = json.loads(line)
            parts = [entry["title"], " ".join(entry["category"]), entry["brand"]]
            cleaned = []
            for part in parts:
                plain = re.sub(r"<[^>]+>", " ", html.unescape(part))
                plain = re.sub(r"[\x00-\x1f]", " ", plain)
                cleaned.append(re.sub(r"\s+", " ", plain).strip())
            texts[entry["asin"]] = ". ".join(cleaned)
    read = perf_counter() - begun
    by_user: dict[str, list[tuple[str, int]]] = defaultdict(list)
    with (folder / "ratings.csv").open(encoding="utf-8") as file:
        for at, line in enumerate(file):
            if at == rows:
                break
            user, item, _, time = line.rstrip("\n").split(",")
            by_user[user].append((item, int(time)))
    rounds = 0
    while True:  # the 5-core
        rounds += 1
        counts: dict[str, int] = defaultdict(int)
        for events in by_user.values():
            for item, _ in events:
                counts[item] += 1
        changed = False
        smaller: dict[str, list[tuple[str, int]]] = {}
        for user, events in by_user.items():
            kept = [event for event in events if counts[event[0]] >= CORE]
            if len(kept) >= CORE:
                smaller[user] = kept
            changed |= len(kept) < CORE or len(kept) < len(events)
        by_user = smaller
        if not changed:
            break
    index: dict[str, int] = {}
    with (folder / "sequences.txt").open("w", encoding="utf-8") as file:
        for user, events in by_user.items():
            events.sort(key=lambda event: event[1])
            numbers = [index.setdefault(item, len(index)) for item, _ in events]
            file.write(f"{user}\t{' '.join(map(str, numbers))}\n")
    with (folder / "texts.txt").open("w", encoding="utf-8") as file:
        for item in index:
            file.write(f"{item}\t{texts.get(item, '')}\n")
    return {
        "seconds": perf_counter() - begun,
        "cpu_seconds": process_time() - cpu_begun,
        "item_seconds": read,
        "rows": rows,
        "items": items,
        "rounds": rounds,
    }


def measure(rows: int, items: int, sample: float) -> dict[str, Any]:
    """Generate, run both, compare."""
    with tempfile.TemporaryDirectory(prefix="preprocess-") as name:
        folder = Path(name)
        write_ratings(folder / "ratings.csv", rows, items)
        write_items(folder / "meta_items.json", items)
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        mine = ours(folder)
        # A smaller shop of the same kind: the first rows of the large one would leave hardly
        # any user five interactions, and so nothing to do.
        write_ratings(folder / "ratings.csv", int(rows * sample), int(items * sample))
        other = row_by_row(folder, int(rows * sample), int(items * sample))
    scaled = other["seconds"] / sample
    return {
        "rows": rows,
        "items": items,
        "input_bytes": sizes,
        "ours": mine,
        "rows_per_second": rows / mine["seconds"],
        "row_by_row": other,
        "row_by_row_scaled_seconds": scaled,
        "row_by_row_rows_per_second": rows / scaled,
        "speedup": scaled / mine["seconds"],
        "cpu_speedup": other["cpu_seconds"] / sample / mine["cpu_seconds"],
        "peak_gib": mine["peak_bytes"] / 2**30,
        "machine": harness.machine(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--items", type=int, help="default: a twentieth of the rows")
    parser.add_argument("--sample", type=float, default=SAMPLE)
    options = parser.parse_args()
    items = options.items or max(options.rows * ITEMS // ROWS, 1)
    found = measure(options.rows, items, options.sample)
    mine, other = found["ours"], found["row_by_row"]
    table = [
        ("input", f"{found['rows']:,} ratings, {found['items']:,} items"),
        (
            "ours",
            f"{mine['seconds']:.1f} s ({mine['cpu_seconds']:.1f} s of the processor), "
            f"{found['rows_per_second']:,.0f} rows/s",
        ),
        ("peak memory", f"{found['peak_gib']:.2f} GiB"),
        ("left by the 5-core", f"{mine['users']:,} users, {mine['interactions']:,} interactions"),
        (
            "row by row",
            f"{other['seconds']:.1f} s for {other['rows']:,} ratings; scaled "
            f"{found['row_by_row_scaled_seconds']:.0f} s, "
            f"{found['row_by_row_rows_per_second']:,.0f} rows/s",
        ),
        ("speedup", f"{found['speedup']:.1f} ({found['cpu_speedup']:.1f} in processor's seconds)"),
    ]
    harness.show("Preprocessing", table, found if options.json else None)


if __name__ == "__main__":
    main()
