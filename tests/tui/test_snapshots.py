"""Snapshots of each screen in two sizes and two themes.

After an intended change, run this file with --snapshot-update, and inspect the new snapshots.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from miracle_core.data.dataset import Dataset
from miracle_core.runs.opening import load_run
from miracle_core.runs.tensors import load_tensors, save_tensors
from miracle_core.systems.miracle.miracle import Miracle
from tests.support.runs import FILAMENT, GLOVES, SCREWS, draw_weights, tiny_run
from tests.support.systems import pretrained, trained
from tests.tui.support import Driver
from tests.tui.test_screens import record
from tui.app import ExplorerApp
from tui.on_disk import Source
from tui.screens.compare import CompareScreen

THEMES = ("dark", "light")
SIZES = {"80x24": (80, 24), "140x40": (140, 40)}
LONG_AGO = 1_690_000_000


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that were finished long ago."""
    folder = tmp_path_factory.mktemp("snapshots")
    for name, capsules in (("first", 7), ("second", 5)):
        run = tiny_run(folder / f"made-{name}", model__capsules=capsules)
        (folder / name).mkdir()
        shutil.move(run, folder / name / name)
        shutil.rmtree(folder / f"made-{name}")
    run = folder / "first" / "first"
    lines = [json.dumps(record(n, 5 - n**0.5, 0.1 + n**0.5 / 100)) for n in range(1, 13)]
    (run / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
    result = {"status": "finished", "test": {"recall@10": 0.1234}}
    (run / "result.json").write_text(json.dumps(result))
    for file in folder.rglob("*"):
        os.utime(file, (LONG_AGO, LONG_AGO))
    return folder


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of other systems, and a pre-trained one with a Dataset to read."""
    folder = tmp_path_factory.mktemp("snapshots-systems")
    for kind in ("popularity", "textknn"):
        trained(folder, kind)
    run, new = pretrained(folder)
    loaded = load_run(run, Dataset.open(new))
    assert isinstance(loaded.system, Miracle)
    _, metadata = load_tensors(loaded.folder.weights)
    save_tensors(loaded.folder.weights, draw_weights(loaded.system).state_dict(), metadata)
    return folder


async def explore(driver: Driver) -> None:
    """Products of three kinds, one new and one switched off; the history list has the focus."""
    for title in (GLOVES[4], FILAMENT[3], SCREWS[6], "Cut-resistant glove", GLOVES[6]):
        await driver.add(title)
    await driver.press("escape", "space", "r", "down")


async def typing(driver: Driver) -> None:
    """Completions while a title is typed."""
    await driver.add(GLOVES[4])
    await driver.type("filament")
    await driver.press("down")


async def user(driver: Driver) -> None:
    """A user of the data set, with the held-out item marked."""
    driver.app.open_user(0, [12])
    await driver.until(lambda: driver.exploration.answer is not None)


async def users(driver: Driver) -> None:
    """The users, sorted by their number of items."""
    await driver.press("f2", "s")


async def capsules(driver: Driver) -> None:
    """The capsules, with one of them described."""
    await driver.press("f3", "down")


async def figure_6(driver: Driver) -> None:
    """Figure 6 beside the capsules."""
    await driver.press("f3", "g")


async def training(driver: Driver) -> None:
    """The curves of a finished run."""
    await driver.press("f4")


async def compare(driver: Driver) -> None:
    """Two runs on one history."""
    await driver.add(GLOVES[4])
    await driver.add(SCREWS[6])
    await driver.press("f5")
    screen = driver.on(CompareScreen)
    screen.open_other(Source(driver.app.here / "second" / "second"))
    await driver.until(lambda: screen._right is not None)


async def runs(driver: Driver) -> None:
    """The runs found."""
    await driver.press("f6")
    await driver.until(lambda: "second" in driver.text)


async def keys(driver: Driver) -> None:
    """Every key."""
    await driver.press("escape", "question_mark")


async def export(driver: Driver) -> None:
    """The export dialog."""
    await driver.add(GLOVES[4])
    await driver.press("escape", "e")


SCREENS = (explore, users, capsules, training, compare, runs)
MOMENTS = (typing, user, figure_6, keys, export)
# The moments use only elements of the screens, so one theme is enough for them.
LOOKS = [(scene, size, theme) for scene in SCREENS for size in SIZES for theme in THEMES]
LOOKS += [(scene, size, "dark") for scene in MOMENTS for size in SIZES]


@pytest.mark.parametrize(
    ("scene", "size", "theme"), LOOKS, ids=[f"{s.__name__}-{size}-{t}" for s, size, t in LOOKS]
)
def test_looks(
    scene: Callable[[Driver], Any],
    size: str,
    theme: str,
    place: Path,
    snap_compare: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    app = ExplorerApp(Source(place / "first" / "first"), here=place)
    assert snap_compare(app, terminal_size=SIZES[size], run_before=played(app, scene, theme))


async def any_system(driver: Driver) -> None:
    """A history, and why its second recommendation is listed; all catalogues have these titles."""
    for title in (SCREWS[4], FILAMENT[6], SCREWS[7]):
        await driver.add(title)
    await driver.press("escape", "r", "down")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("run", "data"), [("popularity", None), ("textknn", None), ("pretrained", "new")]
)
def test_looks_of_other_systems(
    run: str, data: str | None, size: str, systems: Path, snap_compare: Callable[..., bool]
) -> None:
    app = ExplorerApp(Source(systems / run, systems / data if data else None), here=systems)
    assert snap_compare(app, terminal_size=SIZES[size], run_before=played(app, any_system, "dark"))


def played(
    app: ExplorerApp, scene: Callable[[Driver], Any], theme: str
) -> Callable[[Pilot[None]], Any]:
    """Bring an explorer to a scene."""
    app.animation_level = "none"

    async def prepare(pilot: Pilot[None]) -> None:
        driver = Driver(app, pilot)
        await driver.until(lambda: app.model is not None)
        app.theme = f"miracle-{theme}"
        driver.explore.history_panel.box.cursor_blink = False
        await driver.settle()
        await scene(driver)
        await driver.settle()

    return prepare
