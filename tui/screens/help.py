"""The list of all keys. It is read from the bindings, so it is always up to date."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from rich.text import Text
from textual.actions import parse
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from tui.screens.base import ExplorerScreen
from tui.screens.modal import Dialog

# Headings by class. All lists share the keys of Rows, which are listed once.
_NAMES = {
    "Rows": "Lists",
    "HistoryList": "History list",
    "SearchBox": "Search box",
    "Heatmap": "Interests",
}


def keys_of(screen: Screen[Any]) -> list[tuple[str, list[Binding]]]:
    """The keys of a screen, of its widgets and of the application, by heading."""
    own = [key for key in _own(type(screen)) if _there(screen, key)]
    found: dict[str, list[Binding]] = {"This screen": own}
    for widget in screen.query("*"):
        if not _visible(widget):
            continue
        for kind in type(widget).__mro__:
            if kind.__module__.startswith("tui.") and _own(kind):
                found.setdefault(_NAMES.get(kind.__name__, kind.__name__), _own(kind))
    left_out = screen.left_out if isinstance(screen, ExplorerScreen) else set()
    skipped = {f"go('{mode}')" for mode in left_out}
    everywhere = [key for key in _own(type(screen.app)) if key.action not in skipped]
    found["Everywhere"] = [*everywhere, *_palette(screen)]
    return [(name, keys) for name, keys in found.items() if keys]


class HelpScreen(Dialog[None]):
    """A list of keys."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark,q", "close", "Close")]

    def compose(self) -> ComposeResult:
        """Headings and keys."""
        with VerticalScroll(id="dialog", classes="-tall"):
            yield Static("", id="help-text", markup=False)

    def on_mount(self) -> None:
        """Show the keys of the screen below."""
        dialog = self.query_one("#dialog")
        dialog.border_title = "Keys"
        dialog.border_subtitle = "Esc closes"
        below = self.app.screen_stack[-2]
        text = Text()
        if isinstance(below, ExplorerScreen):
            text.append(f"{below.about_it()}\n\n", "italic")
        for heading, keys in keys_of(below):
            text.append(f"{heading}\n", "bold underline")
            for binding in keys:
                text.append(f"  {self._key(binding):<16}", "bold")
                text.append(f"{binding.tooltip or binding.description}\n")
            text.append("\n")
        self.query_one("#help-text", Static).update(text)
        dialog.focus()

    def _key(self, binding: Binding) -> str:
        parts = [Binding(part, binding.action) for part in binding.key.split(",")]
        return " ".join(self.app.get_key_display(part) for part in parts)


def _there(screen: Screen[Any], key: Binding) -> bool:
    """Whether a key currently does something on a screen."""
    _, name, parameters = parse(key.action)
    return screen.check_action(name, parameters) is not False


def _visible(widget: Widget) -> bool:
    """Whether a widget is displayed: some have nothing to show for some systems."""
    return all(node.display for node in widget.ancestors_with_self if isinstance(node, Widget))


def _own(kind: type[Any]) -> list[Binding]:
    if not issubclass(kind, Widget) and not hasattr(kind, "BINDINGS"):
        return []
    return [b for b in kind.__dict__.get("BINDINGS", ()) if isinstance(b, Binding)]


def _palette(screen: Screen[Any]) -> Iterable[Binding]:
    yield Binding(screen.app.COMMAND_PALETTE_BINDING, "command_palette", "All commands by name")
    yield Binding("tab", "app.focus_next", "Next panel")
    yield Binding("shift+tab", "app.focus_previous", "Previous panel")
