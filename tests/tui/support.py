"""Helpers to drive the explorer in tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from textual.pilot import Pilot
from textual.widgets import DirectoryTree

from tui.app import ExplorerApp
from tui.engine import Load, load_recommender
from tui.exploration import Exploration
from tui.on_disk import Source
from tui.screens.base import ExplorerScreen
from tui.screens.explore import ExploreScreen
from tui.session import Session

S = TypeVar("S", bound=ExplorerScreen)
# Seconds to wait for the explorer on a busy machine; anything longer is a hang.
PATIENCE = 20.0
STEP = 0.02


class Driver:
    """Drives a running explorer."""

    def __init__(self, app: ExplorerApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def explore(self) -> ExploreScreen:
        return self.on(ExploreScreen)

    @property
    def exploration(self) -> Exploration:
        return self.app.exploration

    @property
    def titles(self) -> list[str]:
        """The titles in the history."""
        return [entry.title for entry in self.exploration.history.entries]

    def on(self, kind: type[S]) -> S:
        """The visible screen, which must be of this class."""
        assert isinstance(self.app.screen, kind), self.app.screen
        return self.app.screen

    async def until(self, true: Callable[[], object]) -> None:
        """Wait until a condition is true."""
        for _ in range(round(PATIENCE / STEP)):
            if true():
                await self.pilot.pause()
                return
            await self.pilot.pause(STEP)
        raise AssertionError(f"waited in vain; on screen:\n{self.text}")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.settle()

    async def settle(self) -> None:
        """Wait until no worker is running, except the one that a folder tree keeps."""
        await self.pilot.pause()
        await self.until(
            lambda: all(
                worker.is_finished or isinstance(worker.node, DirectoryTree)
                for worker in self.app.workers
            )
        )

    async def type(self, text: str) -> None:
        """Type into the box, and wait for the completions."""
        await self.pilot.press(*("space" if character == " " else character for character in text))
        await self.settle()

    async def add(self, text: str) -> None:
        """Type a title and take the first completion."""
        self.explore.action_search()
        await self.type(text)
        await self.press("enter")

    @property
    def told(self) -> str:
        """The messages that were shown; the screen may break them into lines."""
        return "\n".join(notification.message for notification in self.app._notifications)

    @property
    def text(self) -> str:
        """The text on the screen."""
        lines = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in line) for line in lines)


@asynccontextmanager
async def explorer(
    run: Path | None,
    *,
    data: Path | None = None,
    source: Source | None = None,
    size: tuple[int, int] = (140, 40),
    session: Session | None = None,
    load: Load = load_recommender,
    here: Path | None = None,
    bugs: bool = False,
) -> AsyncIterator[Driver]:
    """A running explorer with its run loaded (or failed).

    Unexpected errors become messages like any other, so this checks that there are none; set
    ``bugs`` if the test causes some. ``source`` replaces ``run`` and ``data``.
    """
    if source is None and run is not None:
        source = Source(run, data)
    app = ExplorerApp(source, session=session, here=here or Path("/nowhere"), load=load)
    async with app.run_test(size=size, notifications=True) as pilot:
        driver = Driver(app, pilot)
        if run is not None:
            await driver.until(lambda: app.model is not None or app.load_error is not None)
        await driver.settle()
        yield driver
        assert bugs or "a bug:" not in driver.told
