"""Pictures of the explorer for README and docs, made by driving it on a run.

    python docs/make_screenshots.py RUN [--out docs/screenshots] [--title TITLE ...]
    python docs/make_screenshots.py --systems [--out docs/screenshots]

Each picture is what a person sees after the keys that its scene presses. With ``--systems`` they
are of other systems, and of a pre-trained run over a Dataset that it never saw; all of it is
generated and trained for them.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from textual.pilot import Pilot

from miracle_core.config import make_settings
from miracle_core.data.prepare import PrepareSettings, prepare
from miracle_core.data.readers import read
from miracle_core.data.synthetic import generate_shops, write_shop_files
from miracle_core.text import encode_dataset
from miracle_core.training.finetuning import finetune
from miracle_core.training.pretraining import pretrain
from tui.app import ExplorerApp
from tui.on_disk import Source
from tui.screens.compare import CompareScreen
from tui.screens.explore import ExploreScreen

TITLES = ("nitrile gloves", "pla filament", "digital caliper", "stepper motor", "latex gloves")
WIDE, SMALL = (140, 40), (80, 24)
STEP = 0.05
Scene = Callable[[ExplorerApp, Pilot[None], Sequence[str]], Awaitable[None]]


async def settle(app: ExplorerApp, pilot: Pilot[None]) -> None:
    """Wait until nothing is under way any more."""
    await pilot.pause(STEP)
    while app.stage is not None or not all(worker.is_finished for worker in app.workers):
        await pilot.pause(STEP)


async def type_titles(app: ExplorerApp, pilot: Pilot[None], titles: Sequence[str]) -> None:
    """Add the first completion of each."""
    for title in titles:
        await pilot.press(*("space" if letter == " " else letter for letter in title))
        await settle(app, pilot)
        await pilot.press("enter")
        await settle(app, pilot)


async def explore(app: ExplorerApp, pilot: Pilot[None], titles: Sequence[str]) -> None:
    """A history, its interests, what they lead to and why."""
    await type_titles(app, pilot, titles)
    await pilot.press("escape", "r", "down")


async def completion(app: ExplorerApp, pilot: Pilot[None], titles: Sequence[str]) -> None:
    """A title being typed."""
    await type_titles(app, pilot, titles[:2])
    await pilot.press(*titles[2].split()[0])


async def user(app: ExplorerApp, pilot: Pilot[None], titles: Sequence[str]) -> None:
    """The user with the most interests whose held-out item is in the list."""
    await pilot.press("f2")
    await settle(app, pilot)
    await pilot.press("slash", *"rank", "less_than_sign", "equals_sign", *"10", "enter", "s", "s")
    await settle(app, pilot)
    await pilot.press("enter")
    await settle(app, pilot)


async def users(app: ExplorerApp, pilot: Pilot[None], titles: Sequence[str]) -> None:
    """The users, those with most interests first."""
    await pilot.press("f2", "s", "s")


async def capsules(app: ExplorerApp, pilot: Pilot[None], titles: Sequence[str]) -> None:
    """The capsules, and what one stands for."""
    await pilot.press("f3", "down", "down")


async def figure_6(app: ExplorerApp, pilot: Pilot[None], titles: Sequence[str]) -> None:
    """Which capsules the items of some users activate."""
    await pilot.press("f3", "g")


async def training(app: ExplorerApp, pilot: Pilot[None], titles: Sequence[str]) -> None:
    """The run's curves."""
    await pilot.press("f4")


async def compare(app: ExplorerApp, pilot: Pilot[None], titles: Sequence[str]) -> None:
    """The run's best epoch beside its last."""
    await type_titles(app, pilot, titles)
    await pilot.press("f5")
    screen = app.screen
    assert isinstance(screen, CompareScreen) and app.engine is not None
    screen.open_other(Source(app.engine.run, weights="last"))


SCENES: dict[str, tuple[Scene, tuple[int, int], str]] = {
    "explore": (explore, WIDE, "dark"),
    "explore-light": (explore, WIDE, "light"),
    "explore-80x24": (explore, SMALL, "dark"),
    "completion": (completion, WIDE, "dark"),
    "user": (user, WIDE, "dark"),
    "users": (users, WIDE, "dark"),
    "capsules": (capsules, WIDE, "dark"),
    "figure-6": (figure_6, WIDE, "dark"),
    "training": (training, WIDE, "dark"),
    "compare": (compare, WIDE, "dark"),
}


# Of the generated shop of the pictures with --systems.
SHOP, OTHERS = "workshop", ["kitchen", "garden"]
SHOP_TITLES = ("cut-resistant glove", "pla filament", "digital caliper")


def systems(folder: Path) -> dict[str, Source]:
    """A run each of popularity and of text neighbours, and a pre-trained one with new data.

    Args:
        folder: where shops, Datasets and runs are made.
    """
    data = {}
    for shop in generate_shops(0, shops=[SHOP, *OTHERS], n_items=400, n_users=1000):
        write_shop_files(shop, folder / "raw" / shop.name)
        data[shop.name] = folder / shop.name
        prepare(read("atomic", [folder / "raw" / shop.name]), PrepareSettings(), data[shop.name])
        encode_dataset(data[shop.name], "hashing")
    for kind in ("popularity", "textknn"):
        asked = {"data": str(data[SHOP]), "model": {"kind": kind}}
        finetune(make_settings(asked, where="pictures"), folder / kind)
    small = {
        "datasets": [str(data[name]) for name in OTHERS],
        "model": {"width": 64, "capsules": 16, "inner": 128},
        "train": {"epochs": 5, "batch_size": 256},
    }
    pretrain(make_settings(small, where="pictures"), folder / "pretrained")
    return {
        "popularity": Source(folder / "popularity"),
        "textknn": Source(folder / "textknn"),
        "pretrained": Source(folder / "pretrained", data[SHOP]),
    }


async def picture(source: Source, scene: str, titles: Sequence[str]) -> str:
    """One scene as SVG."""
    play, size, theme = SCENES[scene]
    app = ExplorerApp(source)
    app.animation_level = "none"
    async with app.run_test(size=size) as pilot:
        app.theme = f"miracle-{theme}"
        while app.model is None:
            if app.load_error is not None:
                raise app.load_error
            await pilot.pause(STEP)
        screen = app.screen
        if isinstance(screen, ExploreScreen):
            screen.history_panel.box.cursor_blink = False
        await settle(app, pilot)
        await play(app, pilot, titles)
        await settle(app, pilot)
        data = "" if source.data is None else f" --data {source.data.name}"
        return app.picture(f"miracle tui {source.run.name}{data}")


def main() -> None:
    """Make every picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--systems", action="store_true", help="of other systems; needs no run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "screenshots")
    parser.add_argument("--title", nargs="+", default=TITLES, help="what is typed")
    given = parser.parse_args()
    if (given.run is None) != given.systems:
        parser.error("name a run, or say --systems")
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        if given.systems:
            asked = [(k, s, "explore", SHOP_TITLES) for k, s in systems(Path(name)).items()]
        else:
            asked = [(scene, Source(given.run), scene, given.title) for scene in SCENES]
        for file, source, scene, titles in asked:
            svg = asyncio.run(picture(source, scene, titles))
            (given.out / f"{file}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
