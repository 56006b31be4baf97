"""Small shops and tiny systems, for experiments that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from miracle_cli.main import main
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from miracle_core.data.synthetic import generate_shops, write_shop_files
from miracle_core.text import encode_dataset

TINY = """
seeds = 2
proposed = ["SASRec"]

[settings]
model.width = 8
train.epochs = 2
train.batch_size = 64

[[system]]
name = "SASRec"
model.kind = "sasrec"

[[system]]
name = "GRU4Rec"
model.kind = "gru4rec"

[[system]]
name = "Popularity"
model.kind = "popularity"
"""


TEXTS = ("table.md", "table.csv", "table.tex", "experiment.json")


def demo_shops(folder: Path, *names: str) -> None:
    """A small Dataset of each demo shop, with text vectors, in folders with the shops' names."""
    shops = generate_shops(0, shops=list(names), n_items=120, n_users=120)
    for name, shop in zip(names, shops, strict=True):
        write_shop_files(shop, folder / "raw" / name)
        interactions = read("atomic", [folder / "raw" / name])
        prepare(interactions, PrepareSettings(), folder / name)
        encode_dataset(folder / name, "hashing:32")


def tiny(folder: Path, text: str = TINY, **changes: Any) -> Path:
    """Write a custom experiment to a file, with some of its text replaced."""
    for old, new in changes.items():
        text = text.replace(old, str(new))
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


def command(folder: Path, shops: Path, *options: object) -> list[str]:
    """The command that runs the experiment in a folder."""
    data = ["--data", shops / "workshop", "--out", folder / "out"]
    return ["experiment", str(folder / "tiny.toml"), *map(str, [*data, *options])]


def texts(out: Path) -> dict[str, str]:
    """The tables that an experiment wrote, by file."""
    return {name: (out / name).read_text() for name in TEXTS}


def refused(capsys: pytest.CaptureFixture[str], args: list[str]) -> str:
    """The message of a command that is refused."""
    capsys.readouterr()
    assert main(args) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err
