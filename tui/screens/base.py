"""What every screen has: the top bar, the footer, a notice and a minimum size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.containers import Container
from textual.screen import Screen
from textual.widgets import Footer, Static

from tui.display import shown
from tui.on_disk import RELOAD
from tui.widgets.top_bar import Tab, TopBar

if TYPE_CHECKING:
    from miracle_core.errors import MiracleError
    from tui.app import ExplorerApp
    from tui.engine import Engine
    from tui.exploration import Exploration
    from tui.exports import Table

LEAST = (60, 16)
WIDE, VERY_WIDE, TALL = 110, 190, 44


class ExplorerScreen(Screen[None]):
    """A screen of the explorer.

    A subclass composes its own part in :meth:`compose_main`. It shows the current state in
    :meth:`arrive`, which is called whenever the screen becomes visible and when a run is loaded.
    """

    mode: ClassVar[str] = ""
    about: ClassVar[str] = ""

    def compose(self) -> ComposeResult:
        """The frame around the screen's own part."""
        yield TopBar(self.mode)
        yield Static("", id="notice", markup=False)
        with Container(id="main"):
            yield from self.compose_main()
        yield Footer(compact=True)
        yield Static(
            f"The explorer needs a terminal of {LEAST[0]} x {LEAST[1]} or more.",
            id="too-small",
            markup=False,
        )

    def compose_main(self) -> ComposeResult:
        """The screen's own part."""
        raise NotImplementedError

    def arrive(self) -> None:
        """Show the current state."""
        raise NotImplementedError

    @property
    def explorer(self) -> ExplorerApp:
        """The application."""
        return cast("ExplorerApp", self.app)

    @property
    def engine(self) -> Engine | None:
        """The run, once it is loaded."""
        engine = self.explorer.engine
        return engine if engine is not None and engine.ready else None

    @property
    def has_interests(self) -> bool:
        """Whether the open run finds interests in a history; True until a run is loaded."""
        if self.engine is None:
            return True
        abilities = self.engine.model.abilities
        return abilities.capsules or abilities.interests

    @property
    def left_out(self) -> set[str]:
        """Screens that have nothing to show for the open run."""
        if self.engine is None or self.engine.model.abilities.capsules:
            return set()
        return {"capsules"}

    @property
    def exploration(self) -> Exploration:
        """The state of Explore for the open run."""
        return self.explorer.exploration

    def export_json(self) -> Any:
        """What is on screen, as data for JSON; None if there is nothing to export."""
        return None

    def export_table(self) -> Table | None:
        """What is on screen, as a table for CSV; None if there is nothing to export."""
        return None

    def waiting_text(self) -> str:
        """Why there is nothing to see yet, and what to do."""
        app = self.explorer
        if app.load_error is not None:
            error = app.load_error
            lines = [f"The run can't be opened: {shown(error.what)}"]
            lines += [f"where: {shown(error.where)}"] if error.where else []
            lines += [f"fix: {shown(error.remedy)}"] if error.remedy else []
            return "\n".join([*lines, f"{RELOAD} tries again; F6 leads to the other runs."])
        if app.engine is None:
            return "No run is open. F6 leads to the runs."
        return f"Loading {shown(app.engine.run.name)}: {app.stage or 'starting'}"

    def about_it(self) -> str:
        """The introduction to the screen's help."""
        return self.about

    def on_screen_resume(self) -> None:
        """The screen has become visible."""
        self.show_state()

    def on_mount(self) -> None:
        """Follow the progress of long tasks."""
        self.watch(self.app, "stage", self.show_stage, init=False)

    def show_state(self) -> None:
        """Show everything."""
        self.show_stage()
        self.arrive()

    def show_stage(self) -> None:
        """Show the progress of long tasks, the open run and the notice."""
        if not self.is_mounted:
            return
        app = self.explorer
        name = app.engine.run.name if app.engine else ""
        if self.engine is not None:
            model = self.engine.model
            # In a narrow terminal, the names of the screens matter more.
            if not self.has_class("-narrow"):
                name += f" · {model.system.title} · {model.dataset.name}"
        top = self.query_one(TopBar)
        top.show(name, *self._answering(), str(app.stage or ""))
        top.leave_out(self.left_out)
        notice = self.query_one("#notice", Static)
        if notice.has_class("-on") or app.notice:
            notice.update(app.notice)
            notice.set_class(bool(app.notice), "-on")

    def _answering(self) -> tuple[str, str]:
        """The epoch whose weights answer, in a long and a short form."""
        if self.engine is None:
            return "", ""
        model = self.engine.model
        short = f"{model.weights} {model.epoch}" if model.epoch else model.weights
        if self.engine.fitted:
            short = "fitted"
        return self.engine.answering, short

    def failed(self, error: MiracleError) -> None:
        """Show an error from background work."""
        self.explorer.failed(error)

    def on_resize(self, event: events.Resize) -> None:
        """Adapt the layout to the size."""
        width, height = event.size
        self.set_class(width < LEAST[0] or height < LEAST[1], "-tiny")
        self.set_class(width >= VERY_WIDE, "-very-wide")
        self.set_class(width < WIDE, "-narrow")
        self.set_class(width < WIDE and height >= TALL, "-stack")
        self.set_class(width < WIDE and height < TALL, "-accordion")
        self.show_stage()
        self.fold()

    def fold(self) -> None:
        """Fold and unfold parts of the screen after a change of size."""

    def on_tab_pressed(self, event: Tab.Pressed) -> None:
        """Go to another screen."""
        self.explorer.action_go(event.mode)
