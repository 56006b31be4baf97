"""A run folder that is small enough for any test: random weights, a shop of 30 items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from miracle_core.config import Settings, make_settings, nested
from miracle_core.data.dataset import Dataset, EncoderIdentity
from miracle_core.data.writing import write_dataset, write_features
from miracle_core.runs.folder import RunFolder
from miracle_core.runs.opening import build_system, data_hash, sizes_of
from miracle_core.runs.tensors import save_tensors
from miracle_core.systems.miracle.miracle import Miracle
from miracle_core.text import load_encoder

ENCODER = "hashing:32"
# Three kinds of products, then hostile titles that a shop should not contain but does.
GLOVES = [f"Nitrile Glove {size}, Powder Free" for size in ("Small", "Medium", "Large", "XL")]
GLOVES += ["Latex Exam Glove", "Vinyl Glove Box", "Leather Work Glove", "Glove Dispenser, Wall"]
FILAMENT = [f"PLA Filament {colour} 1.75 mm" for colour in ("Red", "Blue", "Wood", "Café")]
FILAMENT += ["PETG Filament Spool", "ABS Filament 3 mm", "Filament Dryer", "Printer Nozzle 0.4 mm"]
SCREWS = [f"Machine Screw M{size} Steel" for size in (3, 4, 5, 6)]
SCREWS += ["Wood Screw Brass", "Hex Nut Steel M4", "Washer Steel M4", "Screw Driver Set"]
HOSTILE = [
    "[bold red]Not markup[/bold red]",
    "\x1b[31mEscape\x1b[0m \x07bell",
    "right \u202eto left",
    "no-break\u00a0space\ttab",
    "打印机 耗材",
    "x" * 10_000,
]
TITLES = [*GLOVES, *FILAMENT, *SCREWS, *HOSTILE]
# Some users are too short to have held-out items. One is longer than the model reads.
LENGTHS = [1, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 12]
MAX_LENGTH = 6
SMALL_MODEL = {
    "model.width": 8,
    "model.capsules": 7,
    "model.experts": 2,
    "model.max_length": MAX_LENGTH,
    "model.layers": 1,
    "model.inner": 8,
}


def tiny_shop(folder: Path, *, attributes: bool = False) -> Dataset:
    """A Dataset of :data:`TITLES` with the features of :data:`ENCODER`.

    With ``attributes``, every item has a shelf, and some also have a first letter.
    """
    rng = np.random.default_rng(7)
    items = pl.DataFrame(
        {
            "item_id": [f"I{place:02}" for place in range(len(TITLES))],
            "title": TITLES,
            "text": [f"{title}. a shop" for title in TITLES],
            "domain": ["shop"] * len(TITLES),
        }
    )
    rows = [(item, "shelf", str(place // 8)) for place, item in enumerate(items["item_id"])]
    named = zip(items["item_id"], TITLES, strict=True)
    rows += [(item, "letter", title[0]) for item, title in named if title[0] in "GNPW"]
    write_dataset(
        folder,
        name="tiny",
        items=items,
        user_ids=[f"user-{place}" for place in range(len(LENGTHS))],
        sequences=rng.integers(0, len(TITLES), sum(LENGTHS)).astype(np.int32),
        offsets=np.concatenate([[0], np.cumsum(LENGTHS)]),
        sources=[],
        settings={},
        counts={},
        attributes=pl.DataFrame(rows, ["item_id", "attribute", "value"], orient="row")
        if attributes
        else None,
    )
    encoder = load_encoder(ENCODER)
    vectors = encoder.encode(items["text"].to_list()).astype(np.float16)
    return write_features(folder, vectors, encoder.identity)


def other_shop(
    folder: Path,
    *,
    items: int = 20,
    users: int = 9,
    name: str = "other",
    domain: str | None = None,
) -> Dataset:
    """The tiny shop's last items with their own users, and features of the same encoder.

    Its items keep the tiny shop's domain unless another one is given.
    """
    full = tiny_shop(folder.with_name("full"))
    taken, rng = full.items.tail(items), np.random.default_rng(1)
    write_dataset(
        folder,
        name=name,
        items=taken if domain is None else taken.with_columns(pl.lit(domain).alias("domain")),
        user_ids=[f"o{u}" for u in range(users)],
        sequences=rng.integers(0, items, 5 * users).astype(np.int32),
        offsets=5 * np.arange(users + 1),
        sources=[],
        settings={},
        counts={},
    )
    return write_features(folder, full.features()[-items:], full.feature_set().encoder)


def reencode(data: Dataset, **changes: object) -> Dataset:
    """Replace the features: the same vectors under another encoder's identity."""
    entry = data.feature_set()
    manifest = json.loads((data.folder / "manifest.json").read_text())
    vectors = np.asarray(data.features())
    width = changes.get("width", entry.encoder.width)
    assert isinstance(width, int)
    manifest["features"] = {}
    (data.folder / "manifest.json").write_text(json.dumps(manifest))
    identity = EncoderIdentity.model_validate({**entry.encoder.model_dump(), **changes})
    return write_features(data.folder, vectors[:, :width], identity)


def tiny_settings(**changes: Any) -> Settings:
    """The settings of a small model; ``changes`` are given as in ``model__score="cosine"``."""
    given = {name.replace("__", "."): value for name, value in changes.items()}
    return make_settings(nested({"encoder": ENCODER, **SMALL_MODEL, **given}))


def random_model(settings: Settings, dataset: Dataset, seed: int = 3) -> Miracle:
    """A model with random parameters, large enough to distinguish histories."""
    model = build_system(settings, sizes_of(settings, dataset))
    assert isinstance(model, Miracle)
    return draw_weights(model, seed)


def draw_weights(model: Miracle, seed: int = 3) -> Miracle:
    """Draw all parameters at random, independent of the machine."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
    return model.eval()


def write_run(folder: Path, dataset: Dataset, settings: Settings, model: Miracle) -> Path:
    """Write a run folder like that of a training."""
    run = RunFolder(folder)
    run.create(settings, dataset, overwrite=False)
    save_tensors(run.weights, model.state_dict(), {"data": data_hash(settings, dataset)})
    return folder


def tiny_run(folder: Path, **changes: Any) -> Path:
    """A run folder with random weights over :func:`tiny_shop`, at ``folder / "run"``."""
    dataset = tiny_shop(folder / "data")
    settings = tiny_settings(data=str(folder / "data"), **changes)
    return write_run(folder / "run", dataset, settings, random_model(settings, dataset))
