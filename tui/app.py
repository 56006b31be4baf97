"""The explorer application: its screens, and the actions that they share."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from rich.markup import escape
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from miracle_core.runs.summary import is_pretrained
from tui.background import background
from tui.display import shown
from tui.on_disk import Source
from tui.run_app import RunApp
from tui.screens.base import ExplorerScreen
from tui.screens.explore import ExploreScreen
from tui.themes import DARK, LIGHT
from tui.widgets.top_bar import SCREENS


def _screen(name: str) -> Callable[[], ExplorerScreen]:
    """Return a factory that imports the screen's module on first use, to keep the start fast."""

    def make() -> ExplorerScreen:
        from importlib import import_module

        module = import_module(f"tui.screens.{name}")
        screen: ExplorerScreen = getattr(module, f"{name.capitalize()}Screen")()
        return screen

    return make


class ExplorerApp(RunApp):
    """The explorer application, with its screens and keys."""

    TITLE = "Miracle"
    ENABLE_COMMAND_PALETTE = True
    CSS_PATH = ["styles/app.tcss", "styles/explore.tcss", "styles/others.tcss"]  # noqa: RUF012
    MODES: ClassVar[dict[str, Any]] = {
        "explore": ExploreScreen,
        **{name: _screen(name) for name in SCREENS if name != "explore"},
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(f"{number},f{number}", f"go('{mode}')", name, show=False)
            for number, (mode, name) in enumerate(SCREENS.items(), 1)
        ),
        Binding("e", "export", "Export", show=False),
        Binding("c", "copy_command", "Copy as command", show=False),
        Binding("ctrl+r", "reload", "Load the run's newest weights", show=False),
        Binding("ctrl+t", "switch_theme", "Light/dark", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("ctrl+q", "quit", "Quit", show=False),
    ]

    def on_mount(self) -> None:
        """Show the first screen, and load the run after it is drawn."""
        self.switch_mode("runs" if self.first is None else "explore")
        self.start()

    # What every screen can do.

    @background("open")
    async def choose_run(self, run: Path) -> None:
        """Open a run. For a pre-trained run, first ask which Dataset to read."""
        data: Path | None = None
        if await asyncio.to_thread(is_pretrained, run):
            from tui.screens.pick_folder import DATASET, PickFolderScreen

            picked = await self.push_screen_wait(PickFolderScreen(self.here, DATASET))
            data = cast("Path | None", picked)  # None if the dialog was closed
            if data is None:
                return
        self.open_run(Source(run, data))
        self.action_go("explore")

    def action_go(self, mode: str) -> None:
        """Go to a screen."""
        if mode != self.current_mode and len(self.screen_stack) == 1:
            self.switch_mode(mode)

    def open_user(self, place: int, order: Sequence[int]) -> None:
        """Show a user of the data set in Explore.

        Args:
            place: the user's position in ``order``.
            order: users in the table's order, for stepping to the next and previous.
        """
        self.switch_mode("explore")

        def show() -> None:
            screen = self.screen
            if isinstance(screen, ExploreScreen):
                screen.step_user_to(place, order)
                screen.action_open_panel("recommendations")

        self.call_after_refresh(show)

    def action_switch_theme(self) -> None:
        """Switch between dark and light."""
        self.theme = DARK.name if self.theme == LIGHT.name else LIGHT.name

    def action_help(self) -> None:
        """Show every key."""
        from tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())

    def picture(self, title: str) -> str:
        """Return the screen as SVG, without the fonts that a viewer would have to download."""
        svg = self.export_screenshot(title=title, simplify=True)
        return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)

    def action_export(self) -> None:
        """Write what is on screen to a file."""
        from tui.screens.export import ExportScreen

        screen = self.screen
        if isinstance(screen, ExplorerScreen):
            name = self.engine.run.name if self.engine else "runs"
            svg = self.picture(f"miracle tui {name}")
            forms = {"json": screen.export_json(), "csv": screen.export_table(), "svg": svg}
            self.push_screen(ExportScreen(self.here, f"miracle-{name}-{screen.mode}", forms))

    def action_copy_command(self) -> None:
        """Copy the shell command that gives the same answer, and show it."""
        from tui.exports import command
        from tui.screens.text import TextScreen

        if self.model is None or self.engine is None or not self.exploration.countable:
            self.notify("There is no history to copy as a command.")
            return
        text = command(self.engine.source, self.exploration, self.model)
        self.copy_to_clipboard(text)
        self.push_screen(TextScreen("Copied: the same in a shell", text))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Fill the command palette: this screen's keys by name, and the recently opened runs."""
        from tui.screens.help import keys_of

        for _, keys in keys_of(screen):
            for binding in keys:
                with contextlib.suppress(ValueError):
                    yield SystemCommand(
                        binding.description,
                        f"key: {self.get_key_display(binding)}",
                        self._runner(screen, binding.action),
                    )
        for name in self.session.recent:
            # The palette parses both as markup, so names of folders are escaped.
            title, where = escape(shown(Path(name).name)), escape(shown(name))
            yield SystemCommand(f"Open {title}", where, self._opener(Path(name)))

    def _runner(self, screen: Screen[Any], action: str) -> Callable[[], Any]:
        async def run() -> None:
            focused = screen.focused
            if focused is not None and await self.run_action(action, focused):
                return
            if not await self.run_action(action, screen):
                await self.run_action(action, self)

        return run

    def _opener(self, run: Path) -> Callable[[], Any]:
        def open_run() -> None:
            self.choose_run(run)

        return open_run
