"""Every benchmark, one after another, and one table at the end.

    python -m benchmarks [NAME ...] [--json] [--quick]

The quick ones come first; scripts that no line below describes come after them, preprocessing
of 20 million ratings last. A benchmark that fails is named in the table, the others go on, and the
exit code is 1. Nothing else should run on the machine meanwhile. ``--quick`` takes small settings
and one round: it says that all of them run, and its figures say nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness

Row = tuple[str, str]
# Parts of others, and what needs to be told of something: another checkout or environment, a run.
SHARED = {"__main__", "harness", "dense", "pairs", "beside_recbole", "bulk_beside_recbole"}
SHARED |= {"serving", "low_precision", "cost"}


def numbers(**formats: str) -> Callable[[dict[str, Any]], Iterator[Row]]:
    """Rows of some of a result's numbers, each with its format."""

    def rows(result: dict[str, Any]) -> Iterator[Row]:
        for name, form in formats.items():
            yield name.replace("_", " "), form.format(result[name])

    return rows


def text_rows(result: dict[str, Any]) -> Iterator[Row]:
    """Items a second of each way."""
    for way, rate in result["items_per_second"].items():
        yield f"items a second, {way}", f"{rate:.1f}"


def catalogue_rows(result: dict[str, Any]) -> Iterator[Row]:
    """Memory at each size, and retrieval on the largest."""
    for size in result["training"]:
        growth = size.get("growth_bytes_per_item")
        more = f"; {growth:,.0f} bytes more an item" if growth is not None else ""
        yield (
            f"peak of a step, {size['items']:,} items",
            f"{size['peak_bytes'] / 2**20:,.0f} MiB{more} "
            f"(held: {result['held_bytes_per_item']:,})",
        )
    found = result["retrieval"]
    share = found["share_of_matrix_product_rate"]
    yield f"top-100 of {found['users']:,} users", f"{share:.0%} of the matrix-product rate"
    yield "one user, exact", f"{found['single_user_ratio']:.2f} x reading the catalogue once"


def index_rows(result: dict[str, Any]) -> Iterator[Row]:
    """Recall and speed of each index."""
    for i in result["indexes"]:
        yield (
            f"{i['items']:,} items, {i['kind']}",
            f"recall@100 {i['recall@100']:.3f}, {i['index_ms']:.2f} ms a user "
            f"(exact {i['exact_ms']:.2f})",
        )


def scaling_rows(result: dict[str, Any]) -> Iterator[Row]:
    """The first and last step of each sweep."""
    for name, points in result["sweeps"].items():
        for p in (points[0], points[-1]):
            dense = f"{p['dense_seconds']:.3f} s" if p["dense_seconds"] else "not run"
            yield f"{name} {p[name]}", f"{p['ours_seconds']:.3f} s (dense {dense})"


def tui_rows(result: dict[str, Any]) -> Iterator[Row]:
    """How long the explorer takes to answer."""
    times = {"first paint": result["first_paint_ms"], "edit to redraw": result["edit_ms"]}
    for size, found in result["completion_ms"].items():
        times[f"key to completion, {int(size):,} titles"] = found
    for label, found in times.items():
        yield label, f"{found['median']:.1f} ms (slowest {found['slowest']:.1f})"


def significance_rows(result: dict[str, Any]) -> Iterator[Row]:
    """How often identical systems are told apart, by our test and by users alone."""
    for name, rate in result["rejected"].items():
        yield name, f"{rate['ours']:.1%} (users as the only source: {rate['users_only']:.1%})"


def launches_rows(result: dict[str, Any]) -> Iterator[Row]:
    """What a step dispatches in each layout."""
    for layout, counts in result.items():
        for name, value in (counts or {}).items():
            yield f"{name} of a step, {layout}", f"{value:,}"


def plain_rows(result: dict[str, Any]) -> Iterator[Row]:
    """Every number at the top of a result."""
    for name, value in result.items():
        if isinstance(value, int | float):
            yield name.replace("_", " "), f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


# Each benchmark and what the table shows of it, quick ones first.
BENCHMARKS: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    "step": numbers(
        speedup="{:.1f}",
        memory_ratio="{:.3f}",
        floor_ratio="{:.2f}",
        square_floor_ratio="{:.2f}",
        loss_error="{:.1e}",
        gradient_error="{:.1e}",
        ours_seconds="{:.3f}",
        dense_seconds="{:.3f}",
        ours_mib="{:.0f}",
        dense_mib="{:.0f}",
    ),
    "evaluation": numbers(
        speedup="{:.1f}",
        floor_ratio="{:.2f}",
        square_floor_ratio="{:.2f}",
        ours_seconds="{:.2f}",
        dense_seconds="{:.2f}",
    ),
    "launches": launches_rows,
    "index": index_rows,
    "text": text_rows,
    "scaling": scaling_rows,
    "catalogue": catalogue_rows,
    "tui": tui_rows,
    "significance": significance_rows,
    "preprocess": numbers(
        rows_per_second="{:,.0f}", speedup="{:.1f}", cpu_speedup="{:.1f}", peak_gib="{:.2f}"
    ),
}
LAST = "preprocess"
QUICK: dict[str, tuple[str, ...]] = {
    "step": ("--rounds", "1", "--batch", "64"),
    "evaluation": ("--rounds", "1"),
    "index": ("--items", "1500"),
    "launches": ("--batch", "32"),
    "text": ("--items", "32", "--rounds", "1"),
    "scaling": ("--rounds", "1", "--quick"),
    "catalogue": ("--items", "5000", "10000", "--users", "200"),
    "tui": ("--titles", "2000"),
    "significance": ("--tables", "20"),
    "preprocess": ("--rows", "50000"),
}


def scripts() -> list[str]:
    """The names of all benchmarks in this folder, in the order they are run."""
    there = {path.stem for path in Path(__file__).parent.glob("*.py")} - SHARED
    return [*(n for n in BENCHMARKS if n != LAST), *sorted(there - BENCHMARKS.keys()), LAST]


def run(name: str, settings: Sequence[str] = ()) -> tuple[dict[str, Any] | None, float]:
    """One benchmark's JSON, or None if it failed, and its seconds."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    begun = perf_counter()
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *settings]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=harness.ROOT)
    seconds = perf_counter() - begun
    return (None if done.returncode else orjson.loads(done.stdout)), seconds


def main() -> int:
    """Run, collect and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(scripts()))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="only see that all of them run")
    options = parser.parse_args()
    for name in options.names:
        if name not in scripts():
            parser.error(f"there is no benchmark {name!r}: {', '.join(scripts())}")
    results: dict[str, Any] = {}
    rows: list[Row] = []
    for name in options.names or scripts():
        result, seconds = run(name, QUICK.get(name, ()) if options.quick else ())
        results[name] = result
        rows.append((f"{name} ({seconds:.0f} s)", "FAILED" if result is None else ""))
        if result is not None:
            shown = BENCHMARKS.get(name, plain_rows)(result)
            rows += [(f"  {label}", value) for label, value in shown]
    harness.show("All benchmarks", rows, results if options.json else None)
    return int(None in results.values())


if __name__ == "__main__":
    sys.exit(main())
