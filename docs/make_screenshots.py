"""Pictures of the explorer for README and docs, made by driving it on a run.

    python docs/make_screenshots.py RUN [--out docs/screenshots] [--title TITLE ...]

Each picture is what a person sees after the keys that its scene presses.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from textual.pilot import Pilot

from tui.app import ExplorerApp
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
    screen.open_other(app.engine.run, "last")


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


async def picture(run: Path, scene: str, titles: Sequence[str]) -> str:
    """One scene as SVG."""
    play, size, theme = SCENES[scene]
    app = ExplorerApp(run)
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
        return app.picture(f"miracle tui {run.name}")


def main() -> None:
    """Make every picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "screenshots")
    parser.add_argument("--title", nargs="+", default=TITLES, help="what is typed")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for scene in SCENES:
        svg = asyncio.run(picture(given.run, scene, given.title))
        (given.out / f"{scene}.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
