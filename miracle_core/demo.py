"""All steps once, on a generated shop whose hidden structure is known.

Raw files, Dataset, text vectors, training, evaluation, recommendation: the same steps as for real
data. The interests that were planted in the shop are compared with those that the capsules found.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miracle_core.config import Settings, make_settings
from miracle_core.data.prepare import PrepareSettings, check_out, prepare
from miracle_core.data.readers import read
from miracle_core.data.synthetic import Shop, generate_shops, write_shop_files
from miracle_core.data.synthetic.recovery import Recovery, recovery
from miracle_core.errors import InputError
from miracle_core.evaluation.evaluate_run import RunEvaluation, evaluate_run
from miracle_core.files import read_json, write_json
from miracle_core.paths import as_path
from miracle_core.progress import SILENT, Progress, stage
from miracle_core.recommender import Recommender
from miracle_core.recommender.results import Match, Recommendation
from miracle_core.runs.folder import RunFolder
from miracle_core.text import encode_dataset
from miracle_core.training.finetuning import finetune
from miracle_core.training.listeners import Listener

SHOP = "workshop"
ENCODER = "hashing"
TITLES = ("nitrile gloves, large", "1.75 mm PLA filament")
"""The history that is typed in: one item of protective wear, one of 3D printing."""

TOP_K = 10
# A small network, for a small shop and two minutes. Chosen by validation Recall@10 (docs/demo.md).
_SETTINGS: dict[str, Any] = {
    "encoder": ENCODER,
    "model": {"width": 64, "capsules": 16, "inner": 128},
    "train": {"epochs": 12, "batch_size": 256},
}


def demo_settings(folder: str | Path, seed: int = 0) -> Settings:
    """The settings that the demo trains with.

    Args:
        folder: the demo's folder.
        seed: of every random stream of the training.

    Raises:
        InputError: a negative seed.
    """
    ours = {"data": str(DemoFolder(as_path(folder)).data), "train": {"seed": seed}}
    return make_settings(_SETTINGS, ours, where="demo")


@dataclass(frozen=True)
class DemoFolder:
    """What the demo leaves behind.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def marker(self) -> Path:
        """What was generated; a folder with this file is a demo's."""
        return self.path / "demo.json"

    @property
    def raw(self) -> Path:
        """The shop as raw files, and ``truth.json``."""
        return self.path / "raw"

    @property
    def data(self) -> Path:
        """The Dataset."""
        return self.path / "data"

    @property
    def run(self) -> Path:
        """The trained run."""
        return self.path / "run"

    def check_free(self) -> None:
        """Refuse a folder that holds anything but an earlier demo.

        Raises:
            InputError: it does, or it is not a folder.
        """
        remedy = "choose another --out, or an earlier demo to replace"
        if not self.path.is_dir():
            if self.path.exists():
                raise InputError("is not a folder", where=str(self.path), remedy=remedy)
            return
        if any(self.path.iterdir()):
            said = read_json(self.marker) if self.marker.is_file() else None
            if not isinstance(said, dict) or "demo" not in said:
                raise InputError(
                    "is not empty and no earlier demo: it is not overwritten",
                    where=str(self.path),
                    remedy=remedy,
                )
        check_out(self.data)
        RunFolder(self.run).check_free(overwrite=True)


@dataclass(frozen=True)
class Demo:
    """What the demo found.

    Attributes:
        folder: where everything lies.
        shop: the generated shop, with what was planted.
        evaluation: the run on the test items, beside popularity and chance.
        recovery: each item's capsule against its planted interest.
        recommender: the run, loaded.
        matches: how the typed titles were understood.
        recommendation: the answer to them.
        seconds: how long it all took.
    """

    folder: DemoFolder
    shop: Shop
    evaluation: RunEvaluation
    recovery: Recovery
    recommender: Recommender
    matches: tuple[Match, ...]
    recommendation: Recommendation
    seconds: float


def demo(
    out: str | Path,
    *,
    seed: int = 0,
    settings: Settings | None = None,
    n_items: int = 1200,
    n_users: int = 3000,
    listeners: Sequence[Listener] = (),
    progress: Progress = SILENT,
) -> Demo:
    """Generate a shop, train on it, and measure what was learned.

    Args:
        out: the folder; an earlier demo there is replaced, part by part.
        seed: of the shop, and of the training unless ``settings`` say otherwise.
        settings: the training's; None takes :func:`demo_settings`.
        n_items: items of the shop.
        n_users: users of the shop.
        listeners: called as the training goes on.
        progress: shows the other steps.

    Raises:
        InputError: a negative seed, sizes no shop can have, or ``out`` holds something else.
    """
    started = time.perf_counter()
    folder = DemoFolder(as_path(out))
    settings = settings or demo_settings(out, seed)
    folder.check_free()
    with stage(progress, f"generate the shop {SHOP!r}"):
        (shop,) = generate_shops(seed, shops=[SHOP], n_items=n_items, n_users=n_users)
        folder.path.mkdir(parents=True, exist_ok=True)
        write_json(folder.marker, {"demo": {"shop": SHOP, "seed": seed}})
        write_shop_files(shop, folder.raw)
    prepare(
        read("atomic", [folder.raw], progress=progress), PrepareSettings(), folder.data, progress
    )
    encode_dataset(folder.data, ENCODER, progress)
    finetune(settings, folder.run, overwrite=True, listeners=listeners)
    evaluation = evaluate_run(folder.run, progress=progress)
    recommender = Recommender(evaluation.run, progress=progress)
    matches = tuple(recommender.match(title)[0] for title in TITLES)
    history = [match.given for match in matches]
    return Demo(
        folder=folder,
        shop=shop,
        evaluation=evaluation,
        recovery=_recovery(recommender, shop),
        recommender=recommender,
        matches=matches,
        recommendation=recommender.recommend(history, TOP_K),
        seconds=time.perf_counter() - started,
    )


def _recovery(recommender: Recommender, shop: Shop) -> Recovery:
    """The items' capsules against their planted interests; items that fell out have no capsule."""
    planted = dict(
        zip(shop.items["item_id"].to_list(), shop.truth.item_interest.tolist(), strict=True)
    )
    items = range(recommender.n_items)
    interests = [planted[recommender.item_id(item)] for item in items]
    return recovery(recommender.item_capsules().tolist(), interests)
