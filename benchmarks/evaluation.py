"""Full ranking of all Scientific users: ours, the dense comparison, the arithmetic floor.

    python benchmarks/evaluation.py [--json] [--rounds 3]

    speedup      seconds of the dense evaluation / ours (median of rounds taken in turn)
    floor_ratio  seconds of ours / seconds of the useful matrix products, done alone

Both rank every item for every user's held-out item; ours also reads histories from the Dataset's
arrays, orders ties and counts capsules. Generated data of Scientific's shape, or the Dataset that
MIRACLE_BENCH_DATA names.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import harness
from benchmarks.dense import DenseMiracle, pad, target_ranks
from miracle_core.data.dataset import Dataset
from miracle_core.data.writing import write_dataset
from miracle_core.evaluation.evaluate import evaluate
from miracle_core.systems.base import ItemSide
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.systems.miracle.settings import MiracleSettings


def dataset_of_shape(folder: Path) -> Dataset:
    """A Dataset with Scientific's shape."""
    sequences, offsets, n_items = harness.scientific_sequences()
    names = [f"item {i}" for i in range(n_items)]
    return write_dataset(
        folder,
        name="scientific-shaped",
        items=pl.DataFrame(
            {"item_id": names, "title": names, "text": names, "domain": ["generated"] * n_items}
        ),
        user_ids=[f"user {u}" for u in range(len(offsets) - 1)],
        sequences=sequences,
        offsets=offsets,
        sources=[],
        settings={},
        counts={},
    )


def useful_products(
    settings: MiracleSettings, tokens: int, active: int, n_items: int
) -> dict[harness.Shape, int]:
    """The matrix products that ranking all users needs, each once over all users."""
    d = settings.width
    return {
        (n_items, harness.SCIENTIFIC_TEXT_WIDTH, settings.experts * d): 1,
        (tokens, d, 3 * d): settings.layers,
        (tokens, d, d): settings.layers + 2,
        (tokens, d, settings.inner): settings.layers,
        (tokens, settings.inner, d): settings.layers,
        (tokens, d, settings.capsules): 1,
        (active, d, n_items): 1,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    settings = MiracleSettings()
    with tempfile.TemporaryDirectory() as folder:
        dataset = dataset_of_shape(Path(folder) / "data")
        torch.manual_seed(0)
        ours = Miracle(settings, harness.SCIENTIFIC_TEXT_WIDTH, dataset.n_items).eval()
        dense = DenseMiracle(settings, harness.SCIENTIFIC_TEXT_WIDTH, dataset.n_items).eval()
        dense.load_state_dict(ours.state_dict())
        text = ours.prepared(torch.randn(dataset.n_items, harness.SCIENTIFIC_TEXT_WIDTH))
        examples = dataset.examples("test")
        starts = np.asarray(dataset.offsets[examples.users])
        items, valid = pad(dataset.sequences, starts, examples.positions, settings.max_length)
        targets = torch.from_numpy(dataset.sequences[examples.positions].astype(np.int64))
        found = evaluate(ours.scorer(ItemSide(text)), dataset)
        theirs = target_ranks(dense, text, items, valid, targets).numpy()
        differing = float((found.ranks != theirs).mean())
        lengths = np.minimum(examples.positions - starts, settings.max_length)
        products = harness.Products(
            useful_products(settings, int(lengths.sum()), int(found.active.sum()), dataset.n_items)
        )
        square = harness.Products(harness.SQUARE)
        seconds = harness.alternate(
            options.rounds,
            products=products,
            square=square,
            ours=lambda: evaluate(ours.scorer(ItemSide(text)), dataset),
            dense=lambda: target_ranks(dense, text, items, valid, targets),
        )
    ours_s, dense_s = harness.median(seconds["ours"]), harness.median(seconds["dense"])
    floor_s = harness.median(seconds["products"])
    square_rate = square.operations / harness.median(seconds["square"])
    result = {
        "speedup": dense_s / ours_s,
        "floor_ratio": ours_s / floor_s,
        "square_floor_ratio": ours_s * square_rate / products.operations,
        "differing_ranks": differing,
        "ours_seconds": ours_s,
        "dense_seconds": dense_s,
        "users_per_second": len(examples) / ours_s,
        "floor_seconds": floor_s,
        "useful_gflop": products.operations / 1e9,
        "product_gflop_per_second": products.operations / floor_s / 1e9,
        "square_product_gflop_per_second": square_rate / 1e9,
        "machine": harness.machine(),
    }
    rows = [(k, v if isinstance(v, str) else f"{v:.4g}") for k, v in result.items()]
    harness.show("Evaluation of all users", rows, result if options.json else None)


if __name__ == "__main__":
    main()
