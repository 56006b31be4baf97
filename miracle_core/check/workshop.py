"""A small generated shop, and runs of one system on it, for the checks of its contract."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from miracle_core.config import Settings, make_settings
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from miracle_core.data.synthetic import generate_shops, write_shop_files
from miracle_core.registry import SystemSpec
from miracle_core.runs.opening import TrainedRun, load_run
from miracle_core.text import encode_dataset
from miracle_core.training.finetuning import finetune

ENCODER = "hashing:32"
SEED = 3
N_ITEMS, N_USERS = 60, 80
EPOCHS = 3


@dataclass
class Workshop:
    """The data and runs that one system is checked with.

    Attributes:
        spec: the system.
        folder: an empty folder for data and runs.
        settings: more of the system's settings, to make it small.
    """

    spec: SystemSpec
    folder: Path
    settings: dict[str, Any]

    @cached_property
    def data(self) -> Path:
        """A Dataset with text features."""
        out = self._prepared("shop")
        encode_dataset(out, ENCODER)
        return out

    @cached_property
    def textless(self) -> Path:
        """A Dataset without text features."""
        return self._prepared("textless")

    def _prepared(self, name: str) -> Path:
        (shop,) = generate_shops(SEED, n_items=N_ITEMS, n_users=N_USERS, shops=["workshop"])
        raw, out = self.folder / f"{name}-raw", self.folder / name
        write_shop_files(shop, raw)
        prepare(read("atomic", [raw]), PrepareSettings(k_core=3), out)
        return out

    def asked(self, **more: Any) -> Settings:
        """Settings of a short run on :attr:`data`."""
        train = {"epochs": EPOCHS, "batch_size": 64, "patience": EPOCHS, "learning_rate": 0.01}
        small = {"kind": self.spec.name, **self.settings}
        own = {"data": str(self.data), "model": small, "train": train}
        return make_settings(own, more, where="check")

    @cached_property
    def run(self) -> Path:
        """A run trained to its end."""
        out = self.folder / "run"
        finetune(self.asked(), out)
        return out

    @cached_property
    def trained(self) -> TrainedRun:
        """The same, loaded."""
        return load_run(self.run)
