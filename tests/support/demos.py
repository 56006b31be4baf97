"""A demo that is shrunken to a few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from miracle_core.config import Settings, make_settings
from miracle_core.demo import Demo, demo, demo_settings
from miracle_core.training.listeners import Listener

SIZES: dict[str, Any] = {"n_items": 180, "n_users": 300}


def small_settings(out: Path) -> Settings:
    """The demo's settings, scaled down."""
    small = {
        "model": {"width": 32, "capsules": 14, "experts": 2, "inner": 32, "layers": 1},
        "train": {"epochs": 4, "batch_size": 128, "learning_rate": 0.005},
    }
    return make_settings(demo_settings(out).model_dump(mode="json"), small)


def small_demo(out: Path, *, listeners: Sequence[Listener] = ()) -> Demo:
    """Run the small demo."""
    return demo(out, settings=small_settings(out), listeners=listeners, **SIZES)
