"""What grows with the catalogue: a training step's memory, and exact retrieval.

    python benchmarks/catalogue.py [--json] [--items 10000 100000 1000000] [--users 10000]

Training memory: two steps (batch 1024, transductive) in a fresh process for each size, since the
optimiser has its moments from the first one's end.
`growth_bytes_per_item` is how much more the peak takes for each item from one size to the next;
`held_bytes_per_item` counts the arrays with a row an item that a step can't do without: the text
vectors and the mask of their dropout, the experts' weights with their gradient and what they are
made of, the identity embeddings with their gradient and two moments, the item vectors (of a cosine
their directions and lengths) and their gradient. Growth beyond it would be scores. The running mean
of a training's weights (``train.average``) is left out on both sides.

Retrieval on the largest size: top-100 for many users against the matrix-product rate, and one user
against the time to read the catalogue's bytes once.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from benchmarks.step import optimiser_of, ours_step, problem_with
from miracle_core.ranking.interests import Interests
from miracle_core.ranking.walk import best_items
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.systems.miracle.settings import MiracleSettings

TOP_K = 100
INTERESTS = 3


def training(n_items: int) -> dict[str, Any]:
    """Two steps at one catalogue size, in this (fresh) process."""
    settings = MiracleSettings()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    p = problem_with(settings, 1024, n_items)
    model = Miracle(settings, p.text.shape[1], n_items).train()
    step = ours_step(model, optimiser_of(model), p)
    step()
    begun = perf_counter()
    step()
    seconds = perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - base
    return {"items": n_items, "peak_bytes": peak, "step_seconds": seconds}


def held_bytes_per_item(settings: MiracleSettings, text_width: int) -> int:
    """Bytes an item takes in the arrays that a step can't do without (float32, byte masks)."""
    width_arrays = 4 + 2  # e_v, its gradient, two moments; x_v and its gradient
    gate_arrays = 2 + 2  # g and its gradient; its logits and their noise's scale
    lengths = 2  # factors of a direction and of its gradient
    floats = width_arrays * settings.width + gate_arrays * settings.experts + lengths + text_width
    return 4 * floats + text_width


def retrieval(n_items: int, n_users: int, rate: float) -> dict[str, Any]:
    """Top-100 for many users and for one."""
    settings = MiracleSettings()
    generator = torch.Generator().manual_seed(0)
    items = torch.randn(n_items, settings.width, generator=generator)

    def interests(users: int) -> Interests:
        vectors = torch.randn(users * INTERESTS, settings.width, generator=generator)
        return Interests(
            vectors,
            torch.arange(INTERESTS).repeat(users),
            torch.arange(users),
            ((INTERESTS, users),),
        )

    many = interests(n_users)
    begun = perf_counter()
    best_items(many, items, TOP_K)
    seconds = perf_counter() - begun
    operations = 2.0 * many.vectors.shape[0] * n_items * settings.width
    one = interests(1)
    timed = harness.alternate(
        7, one=lambda: best_items(one, items, TOP_K), read=lambda: items.sum()
    )
    single, read = harness.median(timed["one"]), harness.median(timed["read"])
    return {
        "items": n_items,
        "users": n_users,
        "seconds": seconds,
        "share_of_matrix_product_rate": operations / seconds / rate,
        "single_user_seconds": single,
        "read_once_seconds": read,
        "single_user_ratio": single / read,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--training", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.training:
        print(orjson.dumps(training(options.training)).decode())
        return
    settings = MiracleSettings()
    sizes: list[dict[str, Any]] = []
    for n_items in options.items:
        one = harness.in_fresh_process("benchmarks.catalogue", "--training", str(n_items))
        if sizes:
            more = one["peak_bytes"] - sizes[-1]["peak_bytes"]
            one["growth_bytes_per_item"] = more / (n_items - sizes[-1]["items"])
        sizes.append(one)
    rate = harness.square_rate()
    found = retrieval(max(options.items), options.users, rate)
    held = held_bytes_per_item(settings, harness.SCIENTIFIC_TEXT_WIDTH)
    result = {
        "training": sizes,
        "held_bytes_per_item": held,
        "retrieval": found,
        "machine": harness.machine(),
    }
    rows = [
        (
            f"step, {s['items']:,} items",
            f"peak {s['peak_bytes'] / 2**20:,.0f} MiB, "
            f"{s.get('growth_bytes_per_item', 0):,.0f} bytes more an item than the size before "
            f"(held: {held:,}); {s['step_seconds']:.1f} s",
        )
        for s in sizes
    ]
    rows += [(k, f"{v:.4g}") for k, v in found.items()]
    harness.show("Catalogue size", rows, result if options.json else None)


if __name__ == "__main__":
    main()
