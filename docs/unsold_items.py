"""Whether products that nobody has bought yet are recommended: ``python docs/unsold_items.py OUT``.

From a generated shop of 600 items and 1,500 users all purchases of 60 items are taken away; the
items stay in the catalogue (``--keep-unsold``). A run then ranks such an item for the users whose
purchase of it was taken away, and the users' own test items beside it. Figures stand in
docs/decisions/0013-unsold-items.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import torch

from miracle_core.config import make_settings
from miracle_core.data.interactions import Interactions
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.synthetic import generate_shops
from miracle_core.recommender import Recommender
from miracle_core.text import encode_dataset
from miracle_core.training.finetuning import finetune

ENCODER = "hashing:256"
SIZES = {"n_items": 600, "n_users": 1500}
UNSOLD, PAIRS, K = 60, 400, 50


def main() -> None:
    """Train each mode with unsold items among the candidates of the loss, and without."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    (shop,) = generate_shops(0, shops=["workshop"], **SIZES)
    whole = shop.interactions
    chosen = np.random.default_rng(0).choice(whole.items.height, UNSOLD, replace=False)
    unsold = pl.col("item_id").is_in(whole.items["item_id"][chosen].to_list())
    left = Interactions.checked(whole.events.filter(~unsold), whole.items, name=shop.name)
    dataset = prepare(left, PrepareSettings(k_core=3, keep_unsold=True), out / "data")
    encode_dataset(dataset.folder, ENCODER)
    users = set(dataset.users["user_id"])
    pairs = [
        (user, item)
        for user, item in whole.events.filter(unsold).select("user_id", "item_id").rows()[:PAIRS]
        if user in users
    ]
    for mode in ("inductive", "transductive"):
        for compete in (True, False):
            run = out / f"{mode}-{'all' if compete else 'sold'}"
            train(out / "data", run, mode, compete)
            show(run, pairs)


def train(data: Path, run: Path, mode: str, compete: bool) -> None:
    """One run; unsold items compete in its loss, or don't, as in every other run."""
    ours = {
        "data": str(data),
        "encoder": ENCODER,
        "model": {"width": 64, "capsules": 16, "inner": 128},
        "train": {"epochs": 12, "batch_size": 256, "mode": mode},
    }
    settings = make_settings(ours)
    if compete:
        with mock.patch("miracle_core.training.finetuning._competing", return_value=None):
            finetune(settings, run)
    else:
        finetune(settings, run)


def show(run: Path, pairs: list[tuple[str, str]]) -> None:
    """Median rank and Recall@50 of the items taken away, and of the test items."""
    recommender = Recommender.load(run)
    found: dict[str, list[int]] = {"unsold": [], "test": []}
    for user, item in pairs:
        history = recommender.user_history(user, "test")
        for kind, target in (("unsold", recommender.item(item)), ("test", history.held_out)):
            ranked = recommender.recommend(history.items, 1, target=target).target
            if ranked is not None:
                found[kind].append(ranked.rank)
    for kind, ranks in found.items():
        median, recall = np.median(ranks), np.mean(np.array(ranks) <= K)
        sys.stdout.write(f"{run.name}, {kind} items: median rank {median:.0f}, ")
        sys.stdout.write(f"Recall@{K} {recall:.3f} of {len(ranks)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
