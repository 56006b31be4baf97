"""One training of GRU4Rec with some things as RecBole has them: why ours is better (results.md).

    python docs/gru4rec_apart.py DATA OUT [--items xavier] [--output pytorch] [--targets last]
                                 [--set train.average=0.0 ...]

The best epoch is chosen by validation, Recall@10, and printed; the test part is left unread.
``docs/recbole_check.py`` trains RecBole's own on the same split.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from typing import Any, Literal

import torch
from torch import nn

from miracle_core import train
from miracle_core.config import Settings
from miracle_core.registry import SystemSpec, system
from miracle_core.systems.base import Sizes, System
from miracle_core.systems.gru4rec.settings import GRU4RecSettings
from miracle_core.systems.gru4rec.system import GRU4Rec


class Changed(GRU4RecSettings):
    """What is no setting of the system.

    Attributes:
        items: first item vectors: ``unit``, N(0, 1 / width), as here, or ``xavier``,
            N(0, 2 / (items + width)), as RecBole.
        output: the layer behind the units: ``small``, N(0, 0.02^2), as here; ``pytorch``, as
            ``nn.Linear`` begins, which RecBole leaves so; ``none``: no layer, the state itself is
            compared with items (``hidden`` and ``width`` are then the same).
    """

    kind: Literal["gru4rec-every", "gru4rec-last"] = "gru4rec-every"
    items: Literal["unit", "xavier"] = "unit"
    output: Literal["small", "pytorch", "none"] = "small"


class OfEvery(GRU4Rec):
    """Every item of a window is a target, as here."""

    def __init__(self, settings: Settings, sizes: Sizes) -> None:
        super().__init__(settings, sizes)
        s = settings.model
        assert isinstance(s, Changed)
        if s.items == "xavier":
            nn.init.xavier_normal_(self.item)
        if s.output == "pytorch":
            self.output = nn.Linear(s.hidden, s.width)
        elif s.output == "none":
            self.output = nn.Identity()


class OfLast(OfEvery):
    """Each prefix is an example by itself, whose last state alone has a target, as in RecBole."""

    examples = "prefixes"
    objective = System.objective


def main() -> None:
    """One run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--items", choices=("unit", "xavier"), default="unit")
    parser.add_argument("--output", choices=("small", "pytorch", "none"), default="small")
    parser.add_argument("--targets", choices=("every", "last"), default="every")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    given: dict[str, Any] = {"seen": "as-printed", "train.test": False}
    given |= {"model.items": asked.items, "model.output": asked.output}
    for setting in asked.set:
        name, _, value = setting.partition("=")
        try:
            given[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            given[name] = value
    kind = f"gru4rec-{asked.targets}"
    code = "OfEvery" if asked.targets == "every" else "OfLast"
    paper = system("gru4rec").paper
    spec = SystemSpec(kind, kind, paper, "__main__:Changed", f"__main__:{code}")
    found = train(asked.data, asked.out, model=spec, settings=given)
    sys.stdout.write(json.dumps({"best_epoch": found.best_epoch, **found.valid}) + "\n")


if __name__ == "__main__":
    main()
