"""Helpers to drive the explorer in tests."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from textual.events import Key
from textual.keys import KEY_NAME_REPLACEMENTS, key_to_character
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


def _name(key: str) -> str:
    """The name of a key, given by name or as a character: ``/`` is ``slash``."""
    if len(key) > 1 or key.isalnum():
        return key
    name = unicodedata.name(key).lower().replace("-", "_").replace(" ", "_")
    return KEY_NAME_REPLACEMENTS.get(name, name)


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
        """Press keys, and wait after each of them until nothing is being done."""
        for key in keys:
            self._send(key)
            await self.settle()

    def _send(self, key: str) -> None:
        """Send a key by its name or character, as a terminal does."""
        character = key if len(key) == 1 else key_to_character(key)
        self.app.post_message(Key(_name(key), character))

    async def settle(self) -> None:
        """Wait until nothing moves and no worker is running, except a folder tree's own."""
        await self.pilot.pause()
        await self.app.animator.wait_until_complete()
        if self._working():
            await self.until(lambda: not self._working())
        await self.pilot.pause(0)

    def _working(self) -> bool:
        return not all(
            worker.is_finished or isinstance(worker.node, DirectoryTree)
            for worker in self.app.workers
        )

    async def type(self, text: str) -> None:
        """Type into the box without a pause between the keys, then wait for the completions."""
        await self.pilot.pause()
        for character in text:
            self._send(character)
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
