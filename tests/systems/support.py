"""Shared by the tests of learned systems: a rule that can be learned exactly, and a shop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from miracle_core.config import make_settings
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from miracle_core.data.synthetic import generate_shops, write_shop_files
from miracle_core.data.writing import write_dataset
from miracle_core.runs.folder import RunFolder
from miracle_core.text import encode_dataset
from miracle_core.training.finetuning import finetune


def cycle_shop(folder: Path, n_items: int = 12, length: int = 7) -> Path:
    """Users who take items in one fixed circle, each from a different start."""
    names = [f"I{place:02}" for place in range(n_items)]
    starts = np.arange(2 * n_items)
    write_dataset(
        folder,
        name="circle",
        items=pl.DataFrame(
            {"item_id": names, "title": names, "text": names, "domain": ["circle"] * n_items}
        ),
        user_ids=[f"U{user}" for user in starts],
        sequences=((starts[:, None] + np.arange(length)) % n_items).ravel().astype(np.int32),
        offsets=length * np.arange(len(starts) + 1),
        sources=[],
        settings={},
        counts={},
    )
    return folder


def overfits(
    folder: Path,
    model: dict[str, Any],
    loss: str = "softmax",
    epochs: int = 15,
    *,
    text: bool = False,
    **train: Any,
) -> None:
    """Train on the circle: what comes next is always known, and the loss falls to nearly 0.

    With ``text``, items have text vectors.
    """
    data = cycle_shop(folder / "circle")
    if text:
        encode_dataset(data, "hashing:32")
    settings = make_settings(
        {
            "data": str(data),
            "seen": "as-printed",
            "model": model,
            "loss": {"recommendation": loss, "negatives": 11},
            "train": {
                "epochs": epochs,
                "batch_size": 2,
                "learning_rate": 0.01,
                "average": 0.0,
                "metric": "recall@1",
                "patience": epochs,
                **train,
            },
        }
    )
    result = finetune(settings, folder / "run")
    assert result["valid"]["recall@1"] == 1.0
    assert result["test"]["recall@1"] == 1.0
    if loss == "softmax":
        last = RunFolder(folder / "run").history()[-1]
        assert last["train"]["loss"] < 0.05


def beats_popularity(
    folder: Path, model: dict[str, Any], *, text: bool = False, **train: Any
) -> None:
    """Train on a small generated shop; validation Recall@10 is well above popularity's.

    With ``text``, items have text vectors.
    """
    (shop,) = generate_shops(0, shops=["workshop"], n_items=150, n_users=400)
    write_shop_files(shop, folder / "raw")
    prepare(read("atomic", [folder / "raw"]), PrepareSettings(), folder / "data")
    if text:
        encode_dataset(folder / "data", "hashing:64")
    ours = {
        "data": str(folder / "data"),
        "model": model,
        "train": {"epochs": 6, "batch_size": 32, "learning_rate": 0.005, **train},
    }
    learned = finetune(make_settings(ours), folder / "learned")
    simple = {"data": str(folder / "data"), "model": {"kind": "popularity"}}
    popular = max(
        finetune(make_settings(simple, {"seen": seen}), folder / seen)["valid"]["recall@10"]
        for seen in ("as-printed", "leave-out")
    )
    assert learned["valid"]["recall@10"] > 1.2 * popular
