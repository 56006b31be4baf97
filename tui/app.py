"""The explorer: its screens, and what they share."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.markup import escape
from textual import work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.reactive import reactive
from textual.screen import Screen

from miracle_core.errors import MiracleError
from tui.display import shown
from tui.engine import Engine, Load, Stage, Stopped, load_recommender
from tui.exploration import Exploration
from tui.screens.base import ExplorerScreen
from tui.screens.explore import ExploreScreen
from tui.session import Session
from tui.themes import DARK, LIGHT
from tui.widgets.top_bar import SCREENS

if TYPE_CHECKING:
    from miracle_core.recommender import Recommender

SAVE_EVERY, LOOK_EVERY = 5.0, 2.0


def _screen(name: str) -> Callable[[], ExplorerScreen]:
    """A screen whose file is imported when it is first gone to: the first paint waits for one."""

    def make() -> ExplorerScreen:
        from importlib import import_module

        module = import_module(f"tui.screens.{name}")
        screen: ExplorerScreen = getattr(module, f"{name.capitalize()}Screen")()
        return screen

    return make


class ExplorerApp(App[None]):
    """The explorer.

    Args:
        run: the run folder to open, or None for the list of runs.
        session: what is kept between two openings.
        load: what loads a run.
        here: where runs are looked for.
    """

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
        Binding("ctrl+t", "switch_theme", "Light/dark", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("ctrl+q", "quit", "Quit", show=False),
    ]

    stage: reactive[Stage | None] = reactive(None)
    notice: reactive[str] = reactive("")

    def __init__(
        self,
        run: Path | None,
        *,
        session: Session | None = None,
        load: Load = load_recommender,
        here: Path | None = None,
    ) -> None:
        super().__init__()
        self.session = session if session is not None else Session(None)
        self.here = here if here is not None else Path.cwd()
        self.engine: Engine | None = None
        self.exploration = Exploration()
        self.load_error: MiracleError | None = None
        self.load_run: Load = load
        self._first_run = run
        self._saved: Any = None
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = LIGHT.name if self.session.theme == LIGHT.name else DARK.name

    def on_mount(self) -> None:
        """Show the first screen; load after it is drawn."""
        self.switch_mode("runs" if self._first_run is None else "explore")
        if self._first_run is not None:
            self.call_after_refresh(self.open_run, self._first_run)
        self.set_interval(SAVE_EVERY, self._save_session)
        self.set_interval(LOOK_EVERY, self._look_for_run)

    # The run.

    def open_run(self, run: Path) -> None:
        """Open a run in the place of the one that is open."""
        self._keep()
        if self.engine is not None:
            self.engine.close()
        self.engine = Engine(run, self._tell, self.load_run)
        self.exploration = Exploration()
        self.load_error = None
        self.notice = ""
        self.stage = Stage("starting")
        self._load(self.engine)

    @work(exclusive=True, group="load")
    async def _load(self, engine: Engine) -> None:
        self.refresh_screen()
        try:
            await engine.load()
        except Stopped:
            return
        except MiracleError as error:
            self._failed(engine, error)
            return
        except Exception as error:  # a damaged run may fail anywhere; the explorer goes on
            what = f"{type(error).__name__}: {error}"
            self._failed(engine, MiracleError(what, where=str(engine.run)))
            return
        if self.engine is not engine:
            return
        self.exploration, lost = self.session.restore(engine.run, engine.model)
        self.session.opened(engine.run)
        if lost:
            self.notify(f"{lost} items of the last session are no longer in the catalogue")
        self.stage = None
        self.refresh_screen()

    def _failed(self, engine: Engine, error: MiracleError) -> None:
        if self.engine is engine:
            self.load_error = error
            self.stage = None
            self.refresh_screen()

    def _tell(self, stage: Stage | None) -> None:
        self.stage = stage

    def refresh_screen(self) -> None:
        """Let the screen in sight show the state of things; the others do when they come up."""
        for screen in self.screen_stack:
            if isinstance(screen, ExplorerScreen) and screen.is_mounted:
                screen.show_state()

    def _look_for_run(self) -> None:
        if self.engine is None or self.load_error is not None:
            return
        gone = not (self.engine.run / "config.toml").is_file()
        text = (
            f"The run folder is gone: {self.engine.run}. What is loaded goes on answering; "
            "it can't be opened again."
        )
        self.notice = text if gone else ""

    def watch_notice(self) -> None:
        """A notice stands on the screen in sight."""
        for screen in self.screen_stack:
            if isinstance(screen, ExplorerScreen):
                screen.show_stage()

    @property
    def model(self) -> Recommender | None:
        """The loaded run."""
        return self.engine.model if self.engine is not None and self.engine.ready else None

    # The session.

    def _keep(self) -> None:
        if self.engine is not None and self.engine.ready:
            self.session.keep(self.engine.run, self.exploration, self.engine.model)
        self.session.theme = self.theme

    async def _save_session(self) -> None:
        self._keep()
        now = (self.session.theme, list(self.session.recent), dict(self.session.runs))
        if now != self._saved:
            self._saved = now
            await asyncio.to_thread(self.session.save)

    def on_unmount(self) -> None:
        """Keep the session; let the threads end."""
        self._keep()
        self.session.save()
        if self.engine is not None:
            self.engine.close()

    # What every screen can do.

    def action_go(self, mode: str) -> None:
        """Go to a screen."""
        if mode != self.current_mode and len(self.screen_stack) == 1:
            self.switch_mode(mode)

    def open_user(self, place: int, order: Sequence[int]) -> None:
        """Show a user of the data set in Explore.

        Args:
            place: where the user stands in ``order``.
            order: users in the table's order, for stepping.
        """
        self.switch_mode("explore")

        def show() -> None:
            screen = self.screen
            if isinstance(screen, ExploreScreen):
                screen.step_user_to(place, order)
                screen.action_open_panel("recommendations")

        self.call_after_refresh(show)

    def action_switch_theme(self) -> None:
        """From dark to light and back."""
        self.theme = DARK.name if self.theme == LIGHT.name else LIGHT.name

    def action_help(self) -> None:
        """Every key."""
        from tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen())

    def picture(self, title: str) -> str:
        """The screen as SVG. Fonts that a viewer would fetch from elsewhere are left out."""
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
        """The command that gives the same answer, to the clipboard and to see."""
        from tui.exports import command
        from tui.screens.text import TextScreen

        if self.model is None or self.engine is None or not self.exploration.countable:
            self.notify("There is no history to make a command of.")
            return
        text = command(self.engine.run, self.exploration, self.model)
        self.copy_to_clipboard(text)
        self.push_screen(TextScreen("Copied: the same in a shell", text))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The command palette: every key of this screen by name, and the runs opened lately."""
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
            # The palette reads both as markup; the name of a folder is none.
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
            self.open_run(run)
            self.action_go("explore")

        return open_run
