"""The Capsules screen: what each capsule stands for, who uses it, and figure 6."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.widgets import Static

from tui.background import background
from tui.capsule_text import capsule_text, fault
from tui.display import bar, chip, colour, shown
from tui.exports import Table
from tui.screens.base import ExplorerScreen
from tui.widgets.figure6 import Figure6
from tui.widgets.panel import Panel
from tui.widgets.rows import Cell, Column, Rows

if TYPE_CHECKING:
    from miracle_core.errors import MiracleError
    from miracle_core.recommender.results import CapsuleSummary, CapsuleUse
    from tui.engine import Engine


class CapsuleListPanel(Panel):
    """All capsules."""

    def __init__(self) -> None:
        super().__init__("Capsules", "l", id="capsule-panel")

    def compose_body(self) -> ComposeResult:
        """The list."""
        yield Rows(
            Column("capsule", 8),
            Column("label", -1),
            Column("items", 15),
            Column("users", 15),
            Column("", 11),
            id="capsule-list",
        )


class CapsulePanel(Panel):
    """One capsule."""

    def __init__(self) -> None:
        super().__init__("Capsule", "w", id="capsule")

    def compose_body(self) -> ComposeResult:
        """A scrolling text."""
        with VerticalScroll(id="capsule-scroll"):
            yield Static("", id="capsule-text", markup=False)

    def on_resize(self) -> None:
        """Cut the lines to the new width."""
        if isinstance(self.screen, CapsulesScreen):
            self.screen.explain()


class FigurePanel(Panel):
    """Figure 6."""

    def __init__(self) -> None:
        super().__init__("Figure 6", "g", id="figure")

    def compose_body(self) -> ComposeResult:
        """The figure."""
        yield Figure6(id="figure6")


class CapsulesScreen(ExplorerScreen):
    """The list of capsules beside the details of one capsule, or figure 6."""

    mode = "capsules"
    about = "All capsules: what each stands for and who uses it. g shows the paper's figure 6."
    AUTO_FOCUS = "#capsule-list"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("g", "figure", "Figure 6"),
        Binding("l", "focus_panel('capsule-list')", "List", show=False),
        Binding("w", "focus_panel('capsule-scroll')", "Capsule", show=False),
        Binding("s", "sort", "Sort"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._of: Engine | None = None
        self._capsules: tuple[CapsuleSummary, ...] = ()
        self._order: list[int] = []
        self._use: CapsuleUse | None = None
        self._failure = ""
        self._by_share = False

    def compose_main(self) -> ComposeResult:
        """The list, the capsule and the figure."""
        yield Static("", id="no-capsules", markup=False)
        with Container(id="halves"):
            yield CapsuleListPanel()
            yield CapsulePanel()
            yield FigurePanel()

    def on_mount(self) -> None:
        """Hide the figure until it is asked for."""
        self.query_one(FigurePanel).display = False
        self.query_one("#no-capsules").display = False

    @property
    def list(self) -> Rows:
        """All capsules."""
        return self.query_one("#capsule-list", Rows)

    def arrive(self) -> None:
        """Show the capsules of the open run."""
        if self._of is not self.engine:
            # Another run was opened: drop what belongs to the previous one.
            self._of, self._capsules, self._order = self.engine, (), []
            self._use, self._failure = None, ""
            self.list.show(0, self._cells, cursor=0)
            self._arrange()
            if self.engine is not None and self._has_capsules:
                self.ask()
        self.list.say(self.waiting_text() if self.engine is None else self._failure or "…")

    @property
    def _has_capsules(self) -> bool:
        return self.engine is None or self.engine.model.abilities.capsules

    def _arrange(self) -> None:
        """Show either the capsules, or a note that the system has none."""
        says = self.query_one("#no-capsules", Static)
        says.display = not self._has_capsules
        self.query_one("#halves").display = self._has_capsules
        if self.engine is not None:
            says.update(f"{self.engine.model.system.title} has no capsules.")
        self.refresh_bindings()

    def about_it(self) -> str:
        """The introduction to the screen's help."""
        return self.about if self._has_capsules else "This system has no capsules."

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable this screen's keys if the system has no capsules."""
        return self._has_capsules or action not in ("figure", "focus_panel", "sort")

    def show_stage(self) -> None:
        """Show the progress of loading where the list will be."""
        super().show_stage()
        if self.is_mounted and self.engine is None:
            self.list.say(self.waiting_text())

    @background("capsules")
    async def ask(self) -> None:
        """Request the capsules, then the figure, then their use, which takes longest."""
        engine = self.engine
        if engine is None:
            return
        capsules = await engine.capsules()
        if engine is not self.engine:
            return
        self._capsules = capsules
        self.put_in_order()
        figure = await engine.activations()
        if engine is not self.engine:
            return
        self.query_one(Figure6).show_figure(figure)
        use = await engine.capsule_use()
        if engine is self.engine:
            self._use = use
            self.query_one(FigurePanel).describe(f"a user has {use.mean:.2f} interests on average")
            self.put_in_order()

    def failed(self, error: MiracleError) -> None:
        """Show the error where the list would be, too."""
        self._failure = shown(str(error))
        self.list.say(self._failure)
        super().failed(error)

    def put_in_order(self) -> None:
        """Sort the list and show it."""
        self._order = list(range(len(self._capsules)))
        if self._by_share:
            self._order.sort(key=lambda place: -self._capsules[place].share)
        wrong = [bool(fault(capsule, self._use)[0]) for capsule in self._capsules]
        faults = sum(wrong)
        # Give the warnings a wide column only if there are any.
        self.list.columns = (*self.list.columns[:4], Column("", 11 if faults else 1))
        self.list.show(len(self._order), self._cells)
        warned = f" · {faults} with a warning" if faults else ""
        self.query_one(CapsuleListPanel).describe(f"{len(self._order)}{warned}")
        self.explain()

    def _cells(self, place: int) -> Sequence[Cell]:
        capsule = self._capsules[self._order[place]]
        most = max(c.share for c in self._capsules) or 1.0
        word = fault(capsule, self._use)[0]
        users: Cell = Text("…", "dim")
        if self._use is not None:
            share, top = float(self._use.users[capsule.capsule]), float(self._use.users.max())
            users = _share(share, share / top if top else 0.0, capsule.capsule)
        return (
            chip(capsule.capsule),
            shown(capsule.label),
            _share(capsule.share, capsule.share / most, capsule.capsule),
            users,
            Text(f"! {word}", "bold") if word else "",
        )

    def explain(self) -> None:
        """Describe the capsule under the cursor."""
        if not self._order or self._of is None:
            return
        capsule = self._capsules[self._order[self.list.cursor]]
        width = max(self.query_one("#capsule-scroll").size.width - 2, 20)
        text = capsule_text(
            capsule,
            self._use,
            lambda other: self._capsules[other].label,
            self._of.model.title,
            width,
        )
        self.query_one("#capsule-text", Static).update(text)
        self.query_one(CapsulePanel).describe(f"{capsule.capsule}")

    def on_rows_highlighted(self, event: Rows.Highlighted) -> None:
        """The cursor has moved to another capsule."""
        if event.rows is self.list:
            self.explain()

    def action_figure(self) -> None:
        """Switch between figure 6 and the rest: its columns need the full width."""
        figure = self.query_one(FigurePanel)
        figure.display = not figure.display
        for panel in (self.query_one(CapsuleListPanel), self.query_one(CapsulePanel)):
            panel.display = not figure.display
        self.set_class(figure.display, "-figure")
        self.query_one("#figure6" if figure.display else "#capsule-list").focus()

    def action_focus_panel(self, widget: str) -> None:
        """Move the focus to a part of the screen."""
        self.query_one(f"#{widget}").focus()

    def action_sort(self) -> None:
        """Switch between sorting by number and by share of the items."""
        self._by_share = not self._by_share
        self.put_in_order()

    def export_json(self) -> Any:
        """All capsules with their items and neighbours."""
        if not self._capsules or self._of is None:
            return None
        model = self._of.model
        return [
            {
                "capsule": c.capsule,
                "label": c.label,
                "share": c.share,
                "users": None if self._use is None else float(self._use.users[c.capsule]),
                "warning": fault(c, self._use)[0] or None,
                "items": [{"item_id": model.item_id(i), "title": model.title(i)} for i in c.items],
                "neighbours": [{"capsule": n, "cosine": cosine} for n, cosine in c.neighbours],
            }
            for c in self._capsules
        ]

    def export_table(self) -> Table | None:
        """The list."""
        if not self._capsules:
            return None
        return ("capsule", "label", "items", "share", "users", "warning"), [
            (
                c.capsule,
                c.label,
                c.n_items,
                c.share,
                None if self._use is None else float(self._use.users[c.capsule]),
                fault(c, self._use)[0],
            )
            for c in self._capsules
        ]


def _share(share: float, part: float, capsule: int) -> Text:
    return Text.assemble(f"{share:>6.1%} ", (bar(part, 6), colour(capsule)))
