"""What the tests of training share: the tiny shop with settings that train in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from miracle_core.config import Settings
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
    """Whether two safetensors files hold the same numbers, bit for bit."""
    (one, _), (other, _) = load_tensors(a), load_tensors(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
