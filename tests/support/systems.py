"""Runs of systems other than MIRACLE on the tiny shop, trained in a moment."""

from __future__ import annotations

from pathlib import Path

from miracle_cli.main import main
from miracle_core.training.pretraining import pretrain
from tests.support.runs import other_shop, tiny_shop
from tests.training.support import pretrain_settings

# Settings that make a system small enough for a test.
SMALL = {
    "bert4rec": ["--epochs", "1", "--set", "model.width=16"],
    "s3rec": ["--epochs", "1", "--set", "model.width=16"],
    "mind": ["--epochs", "2", "--set", "model.width=16", "--set", "model.max_length=6"],
    "sasrec": ["--epochs", "1", "--set", "model.width=16"],
    "unisrec": ["--epochs", "2", "--set", "model.width=16", "--set", "model.experts=2"],
}


def trained(folder: Path, kind: str) -> Path:
    """A run of a system at ``folder / kind``, over the tiny shop at ``folder / "data"``."""
    if not (folder / "data").exists():
        tiny_shop(folder / "data")
    words = ["train", "--model", kind, "--data", str(folder / "data"), "--out", str(folder / kind)]
    assert main([*words, *SMALL.get(kind, [])]) == 0
    return folder / kind


def pretrained(folder: Path) -> tuple[Path, Path]:
    """A pre-trained run at ``folder / "pretrained"``, and a Dataset that it never saw."""
    pretrain(pretrain_settings(folder / "shops", train__epochs=1), folder / "pretrained")
    other_shop(folder / "new", items=25, users=14, name="new")
    return folder / "pretrained", folder / "new"
