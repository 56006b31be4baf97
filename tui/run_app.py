"""The application's run: open it, watch its folder, reload it, and save it in the session."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.reactive import reactive
from textual.worker import WorkerFailed

from miracle_core.errors import MiracleError
from tui.background import as_told, background
from tui.engine import Engine, Load, Stage, Stopped, load_recommender
from tui.exploration import Exploration
from tui.on_disk import News, Source
from tui.screens.base import ExplorerScreen
from tui.session import Session
from tui.themes import DARK, LIGHT

if TYPE_CHECKING:
    from miracle_core.recommender import Recommender

SAVE_EVERY, LOOK_EVERY = 5.0, 2.0


class RunApp(App[None]):
    """An application that shows one run.

    Args:
        source: what to open, or None for the list of runs.
        session: the state kept between two starts.
        load: the function that loads a run.
        here: the folder to search for runs.

    Attributes:
        engine: the run, loaded or still loading; None before one is chosen.
        exploration: the state of Explore for this run.
        load_error: why the run can't be opened, or None.
    """

    stage: reactive[Stage | None] = reactive(None)
    notice: reactive[str] = reactive("")

    def __init__(
        self,
        source: Source | None,
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
        self.first = source
        self._saved: Any = None
        self._looking = False
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = LIGHT.name if self.session.theme == LIGHT.name else DARK.name

    def start(self) -> None:
        """Open the first run once the first screen is drawn, and start the timers."""
        if self.first is not None:
            self.call_after_refresh(self.open_run, self.first)
        self.set_interval(SAVE_EVERY, self._save_session)
        self.set_interval(LOOK_EVERY, self.look_at_folder)

    @property
    def model(self) -> Recommender | None:
        """The loaded run."""
        return self.engine.model if self.engine is not None and self.engine.ready else None

    # Opening.

    def open_run(self, source: Source) -> None:
        """Open a run in place of the current one."""
        self._keep()
        if self.engine is not None:
            self.engine.close()
        # Make the paths absolute: the working folder may be gone when they are needed again.
        data = None if source.data is None else source.data.absolute()
        source = replace(source, run=source.run.absolute(), data=data)
        self.engine = Engine(source, self._tell, self.load_run)
        self.exploration = Exploration()
        self.load_error = None
        self.notice = ""
        self.stage = Stage("starting")
        self._load(self.engine)

    @background("load")
    async def _load(self, engine: Engine) -> None:
        self.refresh_screen()
        try:
            await engine.load()
        except Stopped:
            return
        except Exception as error:  # a damaged run may fail anywhere; the explorer goes on
            if self.engine is engine:
                self.load_error = as_told(error)
                self.stage = None
                self.refresh_screen()
            return
        if self.engine is engine:
            self._restore(engine)
            self.session.opened(engine.source)
            self._loaded()

    def action_reload(self) -> None:
        """Load what the run folder holds now, if it is newer than what answers."""
        engine = self.engine
        if engine is None:
            self.notify("No run is open.")
        elif engine.ready:
            self._reload(engine)
        elif self.load_error is not None:
            self.open_run(engine.source)

    @background("load")
    async def _reload(self, old: Engine) -> None:
        """Load the new weights; the old ones answer until the new ones are ready."""
        news = await old.news()
        if not news.newer:
            text = news.text or f"Nothing is newer: the {old.answering} answers."
            self.notify(text, markup=False)
            return
        new = Engine(old.source, self._tell, self.load_run)
        try:
            await new.load()
            if self.engine is not old:
                return
            self._keep()
            self.engine = new
            old.close()
            if new.same_data(old):
                self.exploration.forget_answer()
                self.exploration.of_run(new.model)
            else:
                self._restore(new)
            self._loaded()
            self.notify(f"The {new.answering} answers now.")
        finally:
            self.stage = None
            if self.engine is not new:
                new.close()

    def _restore(self, engine: Engine) -> None:
        self.exploration, lost = self.session.restore(engine.source, engine.model)
        if lost:
            self.notify(f"{lost} items of the last session are no longer in the catalogue")

    def _loaded(self) -> None:
        self.stage = None
        self.notice = ""
        self.refresh_screen()

    def _tell(self, stage: Stage | None) -> None:
        self.stage = stage

    def refresh_screen(self) -> None:
        """Refresh the visible screen; the others refresh when they are shown."""
        for screen in self.screen_stack:
            if isinstance(screen, ExplorerScreen) and screen.is_mounted:
                screen.show_state()

    # Watching.

    @background("look", exclusive=False)
    async def look_at_folder(self) -> None:
        """Check the folder of the open run, and show a notice if it has changed."""
        if self._looking:  # a slow disk may take longer than the interval
            return
        engine = self.engine
        self._looking = True
        try:
            news = await engine.news() if engine is not None and engine.ready else News()
        finally:
            self._looking = False
        if engine is self.engine:
            self.notice = news.text

    def watch_notice(self) -> None:
        """Show a new notice on the visible screen."""
        for screen in self.screen_stack:
            if isinstance(screen, ExplorerScreen):
                screen.show_stage()

    # What went wrong.

    def failed(self, error: MiracleError) -> None:
        """Show an error from background work."""
        self.notify(str(error), severity="error", timeout=12, markup=False)

    @property
    def failure(self) -> Exception | None:
        """The error that ended the explorer, or None."""
        error = self._exception
        return error.error if isinstance(error, WorkerFailed) else error  # type: ignore[return-value]

    def _fatal_error(self) -> None:
        """Close without Textual's traceback: the caller reports the failure."""
        self._close_messages_no_wait()

    # The session.

    def _keep(self) -> None:
        if self.engine is not None and self.engine.ready:
            self.session.keep(self.engine.source, self.exploration, self.engine.model)
        self.session.theme = self.theme

    async def _save_session(self) -> None:
        self._keep()
        now = (self.session.theme, list(self.session.recent), dict(self.session.runs))
        if now != self._saved:
            self._saved = now
            await asyncio.to_thread(self.session.save)

    def on_unmount(self) -> None:
        """Save the session, and let the threads end."""
        self._keep()
        self.session.save()
        if self.engine is not None:
            self.engine.close()
