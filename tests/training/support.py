"""Shared by the tests of training: the tiny shop, and settings that train in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from miracle_core.config import Settings, make_settings
from miracle_core.runs.tensors import load_tensors
from tests.support.runs import other_shop, tiny_settings, tiny_shop


def quick_settings(folder: Path, **changes: Any) -> Settings:
    """Settings over a new tiny shop in ``folder``: 5 epochs of 5 steps, noise and dropout on."""
    if not folder.exists():
        tiny_shop(folder)
    quick = {
        "data": str(folder),
        "model__width": 16,
        "model__capsules": 4,
        "train__batch_size": 8,
        "train__epochs": 5,
        "train__learning_rate": 0.01,
    }
    return tiny_settings(**{**quick, **changes})


def pretrain_settings(folder: Path, **changes: Any) -> Settings:
    """Settings over two shops in ``folder``: 5 epochs of 8 steps, noise and dropout on."""
    if not (folder / "b").exists():
        tiny_shop(folder / "a")
        other_shop(folder / "b")
    quick = {
        "datasets": [str(folder / "a"), str(folder / "b")],
        "encoder": "",
        "model__width": 16,
        "model__capsules": 4,
        "train__batch_size": 8,
        "train__learning_rate": 0.01,
        "model__mask_min_length": 3,
    }
    return tiny_settings(**{**quick, **changes})


def same_tensors(a: Path, b: Path) -> bool:
    """Whether two safetensors files hold bitwise identical numbers."""
    (one, _), (other, _) = load_tensors(a), load_tensors(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def settings_of(kind: str, folder: Path) -> Settings:
    """The settings of a small training by its name; ``NAME padded`` uses the padded layout."""
    usual, _, padded = kind.partition(" ")
    if padded:
        settings = settings_of(usual, folder)
        train = settings.train.model_copy(update={"layout": "padded"})
        return settings.model_copy(update={"train": train})
    if kind == "pretrain":
        return pretrain_settings(folder)
    if kind == "unisrec":
        datasets = pretrain_settings(folder).datasets
        model = {"kind": kind, "width": 8, "experts": 2, "layers": 1, "inner": 8, "max_length": 6}
        train = {"batch_size": 8, "learning_rate": 0.01, "epochs": 2}
        return make_settings({"datasets": datasets, "model": model, "train": train})
    if kind == "uncorrected":
        return pretrain_settings(folder, pretrain__log_q=False)
    if kind == "s3rec":
        tiny_shop(folder / "data", attributes=True)
        model = {"kind": "s3rec", "width": 8, "max_length": 5, "dropout": 0.0}
        return make_settings({"datasets": [str(folder / "data")], "model": model})
    if kind == "fdsa":
        tiny_shop(folder / "data", attributes=True)
        model = {"kind": "fdsa", "width": 8, "max_length": 2, "dropout": 0.0}
        return make_settings({"data": str(folder / "data"), "model": model})
    if kind == "heads":
        data = quick_settings(folder / "data").data
        model = {"kind": kind, "head": "capsules", "width": 8, "experts": 2, "inner": 8}
        return make_settings({"data": data, "model": {**model, "capsules": 4, "layers": 1}})
    if kind == "gbce":  # enough negatives that some are in the history
        return quick_settings(
            folder / "data", loss__recommendation="gbce", loss__negatives=20, seen="gain"
        )
    if kind in ("mind", "comirec"):
        data = quick_settings(folder / "data").data
        return make_settings({"data": data, "model": {"kind": kind, "width": 8}})
    if kind in ("sasrec", "gru4rec", "bert4rec"):
        data = quick_settings(folder / "data").data
        loss = {"recommendation": "sampled-softmax", "negatives": 5}
        model = {"kind": kind, "width": 8, "max_length": 2, "dropout": 0.0}
        if kind != "gru4rec":
            loss = {}
        return make_settings({"data": data, "model": model, "loss": loss})
    if kind == "cosine":
        return quick_settings(folder / "data", model__score="cosine", train__mode="inductive")
    return quick_settings(folder / "data")
